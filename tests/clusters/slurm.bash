# Functions for the cases of slurm.cases.
over='^(COMPLETED|FAILED|CANCELLED.*|TIMEOUT|OUT_OF_MEMORY|NODE_FAIL)$'
final() { # ID: wait until every part of it is in the books as ended
  local states
  for _ in {1..300}; do
    states=$(sacct -nXP -j "$1" -o State 2>/dev/null)
    [ -n "$states" ] && ! grep -qvE "$over" <<<"$states" && gone "$1" && break
    sleep 0.1
  done
  grep -qvE "$over" <<<"${states:-none}" && echo "never ended: $1: $states"
  for _ in {1..80}; do # the books may be behind: a job has its name only later
    sacct -nXP -j "$1" -o JobName | grep -qx allocation || return
    sleep 0.1
  done
}
books() { # ID NUMBER: wait until they have so many lines
  for _ in {1..80}; do
    [ "$(sacct -nXP -j "$1" -o JobID | wc -l)" = "$2" ] && return
    sleep 0.1
  done
}
gone() { # ID: wait until the queue lists it no more
  for _ in {1..200}; do
    [ -z "$(squeue -h -j "$1" 2>/dev/null)" ] && return
    sleep 0.1
  done
}
state() { # ID STATE: wait until squeue shows it so
  for _ in {1..200}; do
    [ "$(squeue -h -j "$1" -o %T 2>/dev/null | sort -u)" = "$2" ] && return
    sleep 0.1
  done
  echo "never $2: $1: $(squeue -h -j "$1" -o %T)"
}
reason() { # ID REASON: wait until squeue gives it so
  for _ in {1..200}; do
    [ "$(squeue -h -j "$1" -o %r 2>/dev/null | sort -u)" = "$2" ] && return
    sleep 0.1
  done
  echo "never $2: $1: $(squeue -h -j "$1" -o %r)"
}
file() { # NAME: wait until it holds something
  for _ in {1..200}; do [ -s "$1" ] && return; sleep 0.1; done
  echo "never there: $1"
}
