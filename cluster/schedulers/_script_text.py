"""The parts of a submission that are the same for every job: plain bash.

They are put below the variables `cluster_job`, `cluster_index`,
`cluster_attempt`, `cluster_record` and `cluster_warning` (a signal), which
`cluster_scripts` writes.  Nothing of a user is in them.  `command` keeps away
functions of the user's that came with the environment.
"""

from __future__ import annotations

__all__ = ["AROUND", "AROUND_WARNED", "REQUIRE", "TIMES"]

# The record has its name only once it is whole.
TIMES = r"""cluster_start=$(command date +%s)

cluster_leave_record() {  # exit code, what else there is to say
    local new="${cluster_record%/*}/.cluster-$cluster_job.$cluster_index.$$.tmp"
    printf 'v=1 job=%s index=%s attempt=%s code=%s start=%s end=%s host=%s%s\n' \
        "$cluster_job" "${cluster_index:--}" "$cluster_attempt" "$1" \
        "$cluster_start" "$(command date +%s)" "$(command uname -n)" "${2:+ unmet=$2}" >"$new" &&
        command mv -f -- "$new" "$cluster_record"
}"""

# 5 s: what another node wrote is seen once the directory is read anew; a job
# that was deleted has left nothing, and its successor shall not wait long.
REQUIRE = r"""# This scheduler starts a job however the one before it ended: look at what that left.
cluster_all_ok() {  # job, its records: whether every one says code 0
    local job=${1%%_*} record line  # of an element "17_3" the job
    shift
    for record; do
        until [ -r "$record" ] || [ "$SECONDS" -ge 5 ]; do
            command ls -a -- "${record%/*}" >/dev/null 2>&1
            command sleep 0.5
        done
        line=
        { read -r line <"$record"; } 2>/dev/null
        case $line in
            "v=1 job=$job "*" code=0 "*) ;;
            *) return 1 ;;
        esac
    done
}

cluster_require() {  # type of dependency, job, its records
    if cluster_all_ok "${@:2}"; then
        if [ "$1" = afterok ]; then return; fi
    elif [ "$1" = afternotok ]; then
        return
    fi
    echo "nothing was done: the dependency $1:$2 can never hold any more" >&2
    cluster_leave_record 1 "$1:$2"
    exit 1
}
"""

# A signal that reaches this script too must not end it before the program; after
# those by which schedulers end jobs, how the program ended is no news of its own.
_TRAPS = r"""cluster_ended=
for cluster_signal in HUP QUIT USR1 USR2; do trap : "$cluster_signal"; done
for cluster_signal in INT TERM XCPU; do trap 'cluster_ended=yes' "$cluster_signal"; done
"""

_LEAVE = r"""# Who ended the program by a signal may be about to end this script as well.
case $cluster_code in 130 | 137 | 138 | 140 | 143 | 152) command sleep 1 ;; esac
if [ -z "$cluster_ended" ]; then cluster_leave_record "$cluster_code"; fi"""

AROUND = rf"""{_TRAPS}
( job ) </dev/null
cluster_code=$?
{_LEAVE}"""

# Where a warning reaches the script alone, it must not wait in the foreground: a trap
# would run too late.  `wait` is no help: when a child ends as a trap interrupts it, bash
# 5.2 may lose the exit code.  A shell in between tells it through a pipe.
AROUND_WARNED = rf"""{_TRAPS}
# shellcheck disable=SC2317  # a trap calls it
cluster_hand_on() {{  # to the whole process group, which this script leads in a job
    local group=
    {{ read -r _ _ _ _ group _ <"/proc/$$/stat"; }} 2>/dev/null
    if [ "$group" = "$$" ]; then
        trap '' "$cluster_warning"
        kill -s "$cluster_warning" 0
        trap cluster_hand_on "$cluster_warning"
    fi
}}
exec 8>&1
exec 9< <(
    trap : HUP INT QUIT USR1 USR2 TERM XCPU "$cluster_warning"
    ( job ) </dev/null >&8 8>&-
    echo "$?"
)
trap cluster_hand_on "$cluster_warning"
cluster_code=
until read -r cluster_code <&9; do
    [ "$?" -gt 128 ] || break  # else the trap ended it, which ran by now
done
cluster_code=${{cluster_code:-255}}
{_LEAVE}"""
