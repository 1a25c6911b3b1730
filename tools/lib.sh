# shellcheck shell=bash
# What tools/* share: the cache, doing a thing once, ports, awaiting a server, ending it.
#
# Sourced, never run. It owns no service: what to start and when it is ready
# is each tool's own business.

# shellcheck disable=SC2034 # for those who source this
tools_dir=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cache_dir=${THALWEG_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/thalweg}

say() { printf '%s: %s\n' "$(basename "$0")" "$*" >&2; }
die() { say "$@"; exit 1; }

need() {
    local missing=()
    for program in "$@"; do command -v "$program" >/dev/null || missing+=("$program"); done
    ((${#missing[@]} == 0)) || die "not installed: ${missing[*]}"
}

# The first characters of a checksum over files and the words after `--`: names a cached thing by what made it.
fingerprint() {
    local files=()
    while (($# > 0)) && [[ $1 != -- ]]; do files+=("$1"); shift; done
    { cat "${files[@]}"; printf '%s\n' "$@"; } | sha256sum | cut -c1-12
}

# once NAME FUNCTION: makes $cache_dir/NAME by calling FUNCTION with a fresh
# directory, unless it is there. Parallel callers wait for the first; a
# failed or interrupted one leaves nothing that counts as made.
once() {
    local name=$1 make=$2 target="$cache_dir/$1"
    [[ -e $target/.complete ]] && return
    mkdir -p "$cache_dir"
    (
        flock 9
        [[ -e $target/.complete ]] && exit
        rm -rf "$target"
        mkdir -p "$target"
        say "fetching $name (once, kept in $cache_dir)"
        "$make" "$target" 9>&-
        touch "$target/.complete"
    ) 9>"$cache_dir/.lock-$name" >&2 || die "could not make $target"
}

# maven_jars POM DIR: every runtime jar of POM, into DIR.
maven_jars() {
    # The POM is copied because Maven wants a writable project directory.
    cp "$1" "$2/pom.xml"
    mvn -q -B -ntp -f "$2/pom.xml" dependency:copy-dependencies -DincludeScope=runtime -DoutputDirectory="$2/libs"
}

# free_ports N: N different ports that nobody listens on now.
free_ports() {
    python3 - "$1" <<'PY'
import socket, sys
held = [socket.socket() for _ in range(int(sys.argv[1]))]
for s in held:
    s.bind(("127.0.0.1", 0))
print(*[s.getsockname()[1] for s in held])
PY
}

# ours PID DIR: PID is a live process that was started for DIR, not a later
# process that got the same number.
ours() {
    [[ -n $1 ]] && { tr '\0' '\n' <"/proc/$1/environ" | grep -qxF "THALWEG_SERVICE_DIR=$2"; } 2>/dev/null
}

running_pid() {
    local pid
    pid=$(cat "$1/pid" 2>/dev/null) || return 1
    ours "$pid" "$1" && printf '%s\n' "$pid"
}

# launch DIR COMMAND…: runs it in the background, apart from the caller's
# terminal, streams and inherited descriptors; DIR/log, DIR/pid.
launch() {
    local dir=$1; shift
    (
        for fd in /proc/self/fd/*; do
            fd=${fd##*/}
            ((fd > 2)) && eval "exec $fd>&-" 2>/dev/null
        done
        export THALWEG_SERVICE_DIR=$dir
        cd "$dir" || exit
        exec setsid "$@" </dev/null >>"$dir/log" 2>&1
    ) &
    printf '%s\n' $! >"$dir/pid"
    disown
}

# await SECONDS DIR COMMAND…: until COMMAND succeeds. Fails when the process
# of DIR ended or time is up, with the log's tail.
await() {
    local seconds=$1 dir=$2 deadline=$((SECONDS + $1)); shift 2
    until "$@" 2>/dev/null; do
        # A process between fork and exec has not got its name yet: only a dead pid counts.
        if ! kill -0 "$(cat "$dir/pid")" 2>/dev/null; then
            say "the server ended; the end of $dir/log:"; tail -n 30 "$dir/log" >&2; return 1
        fi
        if ((SECONDS >= deadline)); then
            say "no answer within $seconds s; the end of $dir/log:"; tail -n 30 "$dir/log" >&2; return 2
        fi
        sleep 0.1
    done
}

# end_server DIR: SIGTERM, wait, SIGKILL after 20 s. Nothing running is no error.
end_server() {
    local dir=$1 pid deadline=$((SECONDS + 20))
    if ! pid=$(running_pid "$dir"); then rm -f "$dir/pid"; return; fi
    kill -TERM "$pid" 2>/dev/null || true
    while kill -0 "$pid" 2>/dev/null; do
        ((SECONDS < deadline)) || { say "pid $pid did not end by itself, killed"; kill -KILL "$pid" 2>/dev/null || true; }
        [[ $(cut -d' ' -f3 "/proc/$pid/stat" 2>/dev/null) == Z ]] && break
        sleep 0.05
    done
    rm -f "$dir/pid"
}

# end_with PID DIR: ends the server of DIR when process PID is gone, so that a killed test leaves nothing behind.
end_with() {
    local pid
    pid=$(cat "$2/pid")
    # shellcheck disable=SC2016
    THALWEG_SERVICE_DIR='' setsid bash -c '
        tail --pid="$1" -f /dev/null
        [[ $(cat "$3/pid" 2>/dev/null) == "$2" ]] && exec "$4" stop --dir "$3"
    ' watch "$1" "$pid" "$2" "$(cd "$(dirname "$0")" && pwd)/$(basename "$0")" </dev/null >/dev/null 2>&1 &
    disown
}

# service_dir NAME [DIR]: DIR (or a new temporary one) as an absolute path, made.
service_dir() {
    local dir=${2:-}
    if [[ -z $dir ]]; then dir=$(mktemp -d "${TMPDIR:-/tmp}/thalweg-$1.XXXXXX"); else mkdir -p "$dir"; fi
    (cd "$dir" && pwd -P)
}
