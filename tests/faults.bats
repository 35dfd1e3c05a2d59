#!/usr/bin/env bats
# A fixed sample of what tests/faults tries in full (make check-long): faults, and power losses.
load common

faults=$TESTS/faults

@test "faults: exit status 0 and the right output, or one sentence and nothing damaged or left" {
    "$faults/faults.py" --jobs 2 --sample 1 --total 500 >found || { cat found; false; }
    grep -q '^4[5-9][0-9] faults\|^500 faults' found
}

@test "power losses: the target is whole, absent or what it was" {
    "$faults/power-loss.py" --only force-folder,pack-tar,finish-force,calibrate-resume --resume 1 >found ||
        { cat found; false; }
    grep -q '^4 passed, 0 failed$' found
}
