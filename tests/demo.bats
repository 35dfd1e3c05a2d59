#!/usr/bin/env bats
# The output of the demo.
load common

# cell ROW COLUMN: a number of the last table; columns are counted from the right, from 0
cell() {
    sed -n '/Which method merges best/,$p' shown | grep "^  $1  " | awk -v back="$2" '{ print $(NF - back) }'
}

@test "the demo ends with a table that compares the methods" {
    "$DEMO/run" >shown 2>errors
    [ ! -s errors ]
    [ "$(cell "expert rev" 3)" = 100.0 ]
    [ "$(cell "expert rev" 1)" = 0.0 ]
    for row in "base 9 11" "Task Arithmetic, best of 7 .0.6. 76 79" "Expert Merging 86 100" \
        "Expert Merging++ 90 100" "trained on all three tasks, with labels 98 99"; do
        read -r low high <<<"$(awk '{ print $(NF - 1), $NF }' <<<"$row")"
        cell "${row% "$low" "$high"}" 0 |
            awk -v low="$low" -v high="$high" '{ n++; bad += $1 < low || $1 > high } END { exit n != 1 || bad }'
    done
    awk 'length > 104 { print; wide++ } END { exit wide > 0 }' shown
    grep -qx "  | equal: 39 tensors, 39 vectors, 755840 elements compared" shown
}
