# Completion for tv, and for the filters under their own names (after eval "$(tv env)").
# Names, options and their choices are read from --help.

# Prints the names that the help of a command lists from column $argv[1] on, with their summaries.
function __tvtools_names
    command $argv[2..] 2>/dev/null |
        string replace --filter --regex "^ {$argv[1]}([a-z][a-z0-9_-]*) {2,}(.*)" '$1\t$2'
end

# The command whose options the line completes: tv pipeline ties, tv trim, trim.
function __tvtools_command
    set -l words (commandline --tokenize-at-cursor --cut-at-cursor 2>/dev/null; or commandline -opc)
    switch "$words[1] $words[2]"
        case 'tv pipeline'
            string join \n $words[1..3]
        case 'tv *'
            string join \n $words[1..2]
        case '*'
            echo $words[1]
    end
end

# Options with their values, and files and models if an operand can be one.
function __tvtools_arguments
    set -l command (__tvtools_command)
    set -l current (commandline -ct)
    set -l help (command $command --help 2>/dev/null)
    string match --quiet -- '-*' $current; or begin
        set -l usage (string replace --filter 'Usage: ' '' -- $help)[1]
        if string match --quiet --regex '\b(MODEL|BASE|EXPERT|A B)\b' -- $usage
            command tv models 2>/dev/null
            __fish_complete_path $current
        else if string match --quiet --regex '\b(STREAM|FILE|OUT)\b' -- $usage
            __fish_complete_path $current
        end
        return
    end
    for line in $help
        set -l option (string match --regex '^ {2,6}(?:-., )?(--[a-z0-9-]+)(?:[= ]([^ ]+))?' -- $line)
        or continue
        if not string match --quiet --regex -- "^ *(-., )?$option[2]=" $line
            echo $option[2] # a flag; or its value is the next word
            continue
        end
        switch "$option[3]"
            case DTYPE
                printf "$option[2]=%s\n" float32 bfloat16 float16 float64
            case TYPE
                printf "$option[2]=%s\n" float32 bfloat16 float16 float64 q8_0
            case '*|*'
                printf "$option[2]=%s\n" (string split '|' -- $option[3])
            case '*' # a number, a name or a file
                echo $option[2]=
        end
    end
end

complete -c tv -f
complete -c tv -n 'test (count (commandline -opc)) = 1' -a "(__tvtools_names 2 tv help; __tvtools_names 4 tv help)"
complete -c tv -n 'test "$(commandline -opc)[2..]" = help' -a "(__tvtools_names 2 tv help; __tvtools_names 4 tv help; __tvtools_names 2 tv pipeline)"
complete -c tv -n 'test "$(commandline -opc)[2..]" = pipeline' -a "(__tvtools_names 2 tv pipeline)"
complete -c tv -n 'test (count (commandline -opc)) -gt 1' -a "(__tvtools_arguments)"
for name in (__tvtools_names 4 tv help | string split --fields 1 \t)
    complete -c $name -f -a "(__tvtools_arguments)"
end
