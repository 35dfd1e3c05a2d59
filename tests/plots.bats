#!/usr/bin/env bats
# plot-stats and plot-diff, on what stats and tv-diff print; plot-coefficients and plot-losses, on tables and logs
# of calibrate; plot-tune, on logs of tv tune; plot-tensors, on streams.
load common
load lesson
load refusals

PLOTS=$ROOT/pipelines

setup() {
    own_folder
    printf '%s\t%s\t%s\t%s\n' tensor model chunk value \
        lm_head.weight math 0 0 lm_head.weight code 0 0 \
        model.layers.0.mlp.up_proj.weight math 0 0.25 model.layers.0.mlp.up_proj.weight math 1 0.75 \
        model.layers.0.mlp.up_proj.weight code 0 0 \
        model.layers.10.mlp.up_proj.weight math 0 1e-03 model.layers.10.mlp.up_proj.weight code 0 1.25 \
        model.layers.0.input_layernorm.weight math 0 0 model.layers.0.input_layernorm.weight code 0 0 >table
    printf '{"update": %d, "epoch": %d, "samples": %d, "lr": 0.5, "grad_norm": 1, "mean_hidden": %s, "mean_logit": %s, "mean_reg": 9, "alpha": {}}\n' \
        1 1 3 0.5 0.5 2 1 1 0.125 0.25 3 2 4 0.1 0.2 >log
    sed '1i{"epoch": 0, "validation_hidden": 1, "validation_logit": 1}' log >held
    echo '{"epoch": 2, "validation_hidden": 0.5, "validation_logit": 0.25}' >>held
    { sed 's/^{/{"stage": 1, /' held && sed 's/^{/{"stage": 2, /' held; } >stages
}

# refuses TEXT SCRIPT OPERAND...
refuses() {
    REFUSED_BY=$2 refused_with "$1" "$PLOTS/$2" "${@:3}"
}

@test "coefficients as numbers: layers across, kinds down, the mean of chunks" {
    "$PLOTS/plot-coefficients" table >found
    diff -u - found <<'END'
math            0     1     2     3     4     5     6     7     8     9    10
mlp.up_proj  0.50                                                        0.00

code            0     1     2     3     4     5     6     7     8     9    10
mlp.up_proj  0.00                                                        1.25
END
}

@test "coefficients outside the layers have a column of their own" {
    sed -i 's/^\(lm_head.*math.*\)0$/\10.5/' table
    "$PLOTS/plot-coefficients" table | sed -n '1,3s/  */ /gp' >found
    [ "$(head -2 found)" = "math - 0 1 2 3 4 5 6 7 8 9 10"$'\n'"lm_head 0.50" ]
}

@test "a plot has a heat map per expert, a cell per coefficient, and a color scale" {
    "$PLOTS/plot-coefficients" table out.svg
    for text in math code layer coefficient mlp.up_proj; do grep -q ">$text<" out.svg; done
    [ "$(grep -c '>layer<' out.svg)" = 2 ]
    fields=$(grep -c '<polygon' out.svg)
    printf 'model.layers.3.mlp.up_proj.weight\tcode\t%d\t0.5\n' 0 1 2 >>table
    "$PLOTS/plot-coefficients" table out.svg
    [ "$(grep -c '<polygon' out.svg)" = $((fields + 3)) ]
    sed 's/math/number three/' table | tail -n +2 >third
    cat third >>table
    "$PLOTS/plot-coefficients" --columns 2 table three.svg
    [ "$(grep -c '>layer<' three.svg)" = 3 ]
    "$PLOTS/plot-coefficients" table out.png
    [ "$(head -c 4 out.png | tail -c 3)" = PNG ]
    [ "$(echo *.partial)" = "*.partial" ]
}

@test "losses: a plot, and a curve in the terminal" {
    echo mine | tee out.svg >out.svg.partial
    REFUSED_BY=plot-losses refused_with "cannot write out.svg: it exists and is not a plot" "$PLOTS/plot-losses" log out.svg
    rm out.svg
    "$PLOTS/plot-losses" log out.svg
    [ "$(cat out.svg.partial)" = mine ]
    grep -q '>mean of an epoch<' out.svg
    not grep -q '>held out<' out.svg
    "$PLOTS/plot-losses" stages out.svg
    grep -q '>held out<' out.svg
    grep -q '>Expert Merging++<' out.svg
    "$PLOTS/plot-losses" held >found
    [ "$(sed 's/held out.*//; s/mean of an epoch.*//' found | tr -cd o | wc -c)" -ge 2 ]
    "$PLOTS/plot-losses" held out.png
    [ "$(head -c 4 out.png | tail -c 3)" = PNG ]
}

@test "tuning: the loss by evaluation, and against each number" {
    tune_log() {
        printf '%s\n' '# tv tune 1 0123456789abcdef' "evaluation"$'\t'"density"$'\t'"lambda"$'\t'"loss"$'\t'"hidden"
        printf '%s\t%s\t%s\t%s\t%s\n' 1 0.1 0.5 3 1 2 0.5 1 1 1 3 0.9 0.7 2 1
    }
    tune_log >tuning
    "$PLOTS/plot-tune" tuning out.svg
    for text in 'lowest so far' evaluation density lambda loss; do grep -q ">$text<" out.svg; done
    [ "$(grep -c '>loss<' out.svg)" = 3 ]
    "$PLOTS/plot-tune" tuning >found
    [ "$(sed 's/lowest so far.*//; s/[a-z][a-z]*//g' found | tr -cd . | wc -c)" -ge 2 ]
    refuses "log: not a log written by tv tune" plot-tune log
    tune_log | head -n 2 >bad
    refuses "the log has no evaluations" plot-tune bad
    tune_log | sed '4s/\t1$//' >bad
    refuses "bad: line 4: expected 5 columns" plot-tune bad
}

@test "statistics: norms, sign conflicts and cosines, as numbers and as a plot" {
    printf '%s\n' 'kind task-vectors' 'model base role=base' 'model math role=expert' 'model "co\"de" role=expert' \
        'tensor model.layers.0.up.weight 2' 'vector math' '3 4' 'vector "co\"de"' '-6 8' \
        'tensor model.layers.2.up.weight 2' 'vector math' '0 1' 'vector "co\"de"' '0 1' \
        'tensor head 1' 'vector math' 2 'vector "co\"de"' -2 | from-text >s.tvs
    stats --json s.tvs >stats.json
    "$PLOTS/plot-stats" stats.json >found
    diff -u - found <<'END'
math         -        0        1        2
up                  3.5              0.71
head         2

co"de        -        0        1        2
up                  7.1              0.71
head         2

sign conflict        -        0        1        2
up                          0.5                 0
head                 1

cosine    math   co"de
math    1.000   0.196
co"de   0.196   1.000
END
    "$PLOTS/plot-stats" - <stats.json | diff found -
    "$PLOTS/plot-stats" --columns 1 stats.json out.svg
    for text in math co 'sign conflict' cosine up head 0.20 1.00; do grep -q ">$text" out.svg; done
    [ "$(grep -c '<polygon' out.svg)" -ge $((3 * 3 + 4)) ]
    "$PLOTS/plot-stats" stats.json out.png
    [ "$(head -c 4 out.png | tail -c 3)" = PNG ]
    pick math <s.tvs | stats --json | "$PLOTS/plot-stats" - one.svg
    not grep -q '>cosine<' one.svg
    stats --json --summary s.tvs >bad
    refuses "bad: there are no tensors" plot-stats bad
    stats s.tvs >bad
    refuses "bad: line 1: not a line of stats --json" plot-stats bad
    : >bad
    refuses "bad: there are no tensors" plot-stats bad
    refuses "cannot read nowhere" plot-stats nowhere
    refuses "standard input: line 1: not a line of stats --json" plot-stats - <held
}

@test "differences: by layer and kind, as numbers and as a plot" {
    printf '%s\n' 'kind weights' 'model a' 'tensor l.0.up.weight 2' 'vector a' '3 4' \
        'tensor l.1.up.weight 2' 'vector a' '0 1' 'tensor head 1' 'vector a' 2 >a
    sed 's/^3 4$/2 4/; s/^model a/model b/; s/^vector a/vector b/' a >b
    for x in a b; do from-text <$x >$x.tvs; done
    tv-diff --json b.tvs a.tvs >diff.json || true
    "$PLOTS/plot-diff" diff.json >found
    diff -u - found <<'END'
b: relative        -        0        1
up                       0.25        0
head               0

b: unequal        -        0        1
up                       0.5        0
head              0
END
    "$PLOTS/plot-diff" - out.svg <diff.json
    for text in 'largest relative difference' 'unequal elements' up head; do grep -q ">$text<" out.svg; done
    tv-diff --json a.tvs a.tvs | "$PLOTS/plot-diff" - same.svg
    { cat diff.json && echo x; } >bad
    refuses "bad: line 5: not a line of tv-diff --json" plot-diff bad
    tail -n 1 diff.json >bad
    refuses "bad: no tensors were compared" plot-diff bad
    refuses "log: line 1: not a line of tv-diff --json" plot-diff log
}

# grid PICTURE X: the numbers of the cells of the column at X pixels, row by row
grid() {
    sed -n 's/^<text x="\([0-9]*\)".*text-anchor.*>\(.*\)<\/text>$/\1 \2/p' "$1" | awk -v x="$2" '$1 == x { print $2 }' | xargs
}

@test "tensors: a grid per vector and step, with its numbers, weights and colors" {
    lesson | from-text | tee before | weigh math=0.75 code=1e-7 | tee weighed | combine >after
    "$PLOTS/plot-tensors" before weighed after out.svg
    # The cells are 56 wide, so that the first column of the first step is at 12 + 56 / 2.
    [ "$(grid out.svg 40)" = "1 0 -1 2" ]
    [ "$(grid out.svg 96)" = "-2 0.25 4 0" ]
    [ "$(grid out.svg 152)" = "0.5 3 0.5 -3" ]
    tv-view --values after | tail -n 2 | tr ' ' '\n' | awk '{ printf "%.4g\n", $1 }' | sort >expected
    sed -n 's/^<text.*text-anchor.*>\(.*\)<\/text>$/\1/p' out.svg | tail -n 6 | sort | diff -u expected -
    [ "$(grep -c '<rect' out.svg)" = 31 ]
    [ "$(grep -c '<path' out.svg)" = 2 ]
    for text in before weigh math=0.75 'math × 0.75' 'code × 1e-07' combine merged; do grep -c ">$text</text>" out.svg; done
    # 4 is the largest number, -4 would be as dark; 0 is white.
    grep -B 1 '>4</text>' out.svg | grep -c 'fill="#5096d2"'
    [ "$(grep -B 1 '>0</text>' out.svg | grep '<rect' | grep -vc 'fill="#ffffff"')" = 0 ]
    grep -B 1 '>-2</text>' out.svg | grep -c 'fill="#f5c19e"'
}

@test "tensors: the same bytes again, from standard input, and to standard output" {
    lesson | from-text | tee before | trim --density 0.5 >after
    "$PLOTS/plot-tensors" before after out.svg
    cp out.svg once.svg
    LC_ALL=C.UTF-8 "$PLOTS/plot-tensors" before after out.svg
    cmp out.svg once.svg
    "$PLOTS/plot-tensors" before - - <after | cmp - once.svg
    "$PLOTS/plot-tensors" - before.svg <before
    grep -c '>standard input</text>' before.svg
    echo mine >out.svg
    refuses "cannot write out.svg: it exists and is not a plot" plot-tensors before out.svg
    [ "$(echo *.partial out.svg.*)" = "*.partial out.svg.*" ]
}

@test "tensors: names with other characters, several tensors, numbers that are not finite" {
    sed 's/^tensor w 2x3/tensor "a <b> \&" 2x3/; s/math/"m \\"1"/; s/^1 -2 0.5/nan -2 inf/' < <(lesson) |
        sed '$a tensor z scalar\nvector "m \\"1"\n7\nvector code\n0' | from-text --allow-nonfinite >odd
    "$PLOTS/plot-tensors" odd out.svg
    grep -c '>a &lt;b&gt; &amp;</text>' out.svg
    for text in z nan inf 7; do grep -c ">$text</text>" out.svg; done
    /usr/bin/python3 -c 'import sys, xml.dom.minidom; xml.dom.minidom.parse(sys.argv[1])' out.svg
}

@test "tensors: refuses what it cannot draw" {
    printf '%s\n' 'kind weights' 'model m' 'tensor w 65' 'vector m' "$(seq -s' ' 65)" | from-text >wide
    refuses "tensor w of m has more than 64 rows or columns" plot-tensors wide out.svg
    printf '%s\n' 'kind weights' 'model m' 'tensor w 65x1' 'vector m' "$(seq 65)" | from-text >long
    refuses "tensor w of m has more than 64 rows or columns" plot-tensors long out.svg
    printf '%s\n' 'kind weights' 'model m' 'tensor w 2' 'vector m BOOL' '01 00' | from-text >flags
    refuses "tensor w of m has dtype BOOL" plot-tensors flags out.svg
    printf '%s\n' 'kind weights' 'model m' | from-text >none
    refuses "the streams have no tensors" plot-tensors none out.svg
    lesson | from-text >good
    head -c 100 good >short
    REFUSED_BY=plot-tensors run ! "$PLOTS/plot-tensors" good short out.svg
    refuses "cannot read nowhere" plot-tensors good nowhere out.svg
    refuses "out.png: expected a name that ends in .svg" plot-tensors good out.png
    [ ! -e out.svg ]
}

@test "file names may contain =" {
    cp log lr=1.log
    cp table lr=1.table
    "$PLOTS/plot-losses" log a.svg
    "$PLOTS/plot-losses" lr=1.log b.svg </dev/null
    cmp a.svg b.svg
    "$PLOTS/plot-coefficients" table | diff - <("$PLOTS/plot-coefficients" lr=1.table </dev/null)
}

@test "rejects files that are not tables or logs" {
    echo tensor >bad
    refuses "bad: not a table" plot-coefficients bad
    sed '6s/[^\t]*$/x/' table >bad
    refuses "bad: line 6: expected tensor, model, chunk and value" plot-coefficients bad
    sed 's/[^\t]*$/0/; 1s/.*/tensor\tmodel\tchunk\tvalue/' table >bad
    refuses "all coefficients are 0" plot-coefficients bad
    : >bad
    refuses "bad: the file is empty" plot-coefficients bad
    echo '{}' >bad
    refuses "bad: line 1: not a log" plot-losses bad
    sed -n 1p held >bad
    refuses "bad: the log has no updates" plot-losses bad
    refuses "out.jpg: expected a name that ends in" plot-coefficients table out.jpg
    refuses "its folder does not exist" plot-losses log nowhere/out.svg
    refuses "cannot read nowhere" plot-losses nowhere
}

@test "without gnuplot numbers can still be printed" {
    mkdir some
    for tool in bash env dirname basename realpath awk sed sort tail mktemp rm cat grep; do
        ln -s "$(command -v $tool)" some
    done
    PATH=$T/some refuses "gnuplot is not installed" plot-coefficients table out.svg
    PATH=$T/some "$PLOTS/plot-coefficients" table | grep -c mlp.up_proj
}
