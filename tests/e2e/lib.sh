# What every end-to-end script shares: a scratch folder, a private sshd on loopback with
# throw-away keys, configurations for both agents, the agents themselves, and checks that
# print "ok - what" or "not ok - what". Source it first; call `finish` last.
#   . "$(dirname "$0")/lib.sh"
# Nothing outlives the script: what was started is stopped by its pid, the folder is removed
# (KEEP=1 keeps it and says where). Works as root and as an ordinary user.
set -u
cd "$(dirname "${BASH_SOURCE[0]}")/../.." || exit 1
TOP=$PWD
BIN=$TOP/build/${FLAVOUR:-gcc}
WORK=$(mktemp -d "${TMPDIR:-/tmp}/skyferry.XXXXXX")
FAR=$WORK/far NEAR=$WORK/near
STORE=$FAR/store SPOOL=$NEAR/spool WATCH=$NEAR/data
mkdir -p "$FAR" "$NEAR" "$STORE" "$SPOOL" "$WATCH"
declare -A PID=()
FAILED=0
# Where the ends stand: tests/wan/box.sh puts a long line between them.
FAR_IP=127.0.0.1
NEAR_RUN=() FAR_RUN=()

clean_up() {
    local name
    for name in "${!PID[@]}"; do stop "$name"; done
    if [ -n "${KEEP:-}" ]; then echo "# kept: $WORK"; else rm -rf "$WORK"; fi
}
trap clean_up EXIT
trap 'exit 1' INT TERM

# ---- checks ----

pass() { echo "ok - $1"; }
fail() {
    echo "not ok - $1"
    FAILED=$((FAILED + 1))
}
# check WHAT COMMAND...: the command succeeds.
check() {
    local what=$1 got
    shift
    "$@" >"$WORK/check.out" 2>&1
    got=$?
    if [ $got -eq 0 ]; then
        pass "$what"
    else
        fail "$what"
        echo "#   exit $got of: $*"
        tail -n 15 "$WORK/check.out" | sed 's/^/#   /'
    fi
}
# same WHAT GOT WANTED: two texts are equal.
same() {
    if [ "$2" = "$3" ]; then
        pass "$1"
    else
        fail "$1"
        printf '#   got:    %s\n#   wanted: %s\n' "$2" "$3"
    fi
}
# says WHAT FILE PATTERN: an extended regular expression, any case, stands in the file.
says() {
    if grep -qiE -- "$3" "$2"; then
        pass "$1"
    else
        fail "$1"
        echo "#   no match for '$3' in $2, whose end is:"
        tail -n 15 "$2" | sed 's/^/#   /'
    fi
}
# exits WHAT CODE COMMAND...: it ends with this status; its words are kept in $WORK/out.
exits() {
    local what=$1 wanted=$2 got
    shift 2
    "$@" >"$WORK/out" 2>&1
    got=$?
    if [ $got -eq "$wanted" ]; then
        pass "$what"
    else
        fail "$what"
        echo "#   exit status $got, wanted $wanted, of: $*"
        tail -n 15 "$WORK/out" | sed 's/^/#   /'
    fi
}
# wait_for SECONDS COMMAND...: until it succeeds, looking 20 times a second; false when it never does.
# Ten seconds more are given to a machine that is busy or stands still for a while.
wait_for() {
    local end=$((SECONDS + $1 + 10))
    shift
    until "$@" >/dev/null 2>&1; do
        [ $SECONDS -lt $end ] || return 1
        sleep 0.05
    done
}
# eventually WHAT SECONDS COMMAND...: wait_for as a check; shows the agents' logs when it fails.
eventually() {
    local what=$1 seconds=$2
    shift 2
    if wait_for "$seconds" "$@"; then
        pass "$what"
    else
        fail "$what"
        echo "#   not within $seconds s: $*"
        show_logs
    fi
}
show_logs() {
    local log
    for log in "$NEAR"/push.log "$FAR"/pull.log "$FAR"/sshd.log; do
        [ -s "$log" ] && { echo "#   --- ${log##*/}"; tail -n "${LINES_SHOWN:-15}" "$log" | sed 's/^/#   /'; }
    done
}
finish() {
    [ "$FAILED" -eq 0 ] && exit 0
    show_logs
    exit 1
}
skip_all() {
    echo "ok - # skipped: $1"
    exit 0
}

# Debian's own, which has Debian's astropy; another python3 may come first in PATH.
debian_python() { /usr/bin/python3 "$@"; }

# ---- processes ----

# reload_pull: SIGHUP, and until the daemon says that it has read its settings again.
reload_pull() {
    local said
    said=$(grep -c 'settings read again' "$FAR/pull.log")
    kill -HUP "${PID[pull]}"
    wait_for 10 eval '[ "$(grep -c "settings read again" "$FAR/pull.log")" -gt '"$said"' ]'
}

# start NAME LOG COMMAND...: in the background, its pid kept.
start() {
    local name=$1 log=$2
    shift 2
    "$@" >>"$log" 2>&1 </dev/null &
    PID[$name]=$!
}
running() { [ -n "${PID[$1]:-}" ] && kill -0 "${PID[$1]}" 2>/dev/null; }
# stop NAME [SIGNAL]: sends it, then waits for the end (KILL after 10 s). Returns its status.
stop() {
    local pid=${PID[$1]:-} i
    [ -n "$pid" ] || return 0
    unset "PID[$1]"
    kill -"${2:-TERM}" "$pid" 2>/dev/null
    for i in {1..200}; do
        kill -0 "$pid" 2>/dev/null || break
        sleep 0.05
    done
    kill -KILL "$pid" 2>/dev/null
    wait "$pid" 2>/dev/null
}

# ---- the line ----

# make_keys: host and user keys, once.
make_keys() {
    [ -f "$FAR/host_key" ] && return
    ssh-keygen -q -t ed25519 -N '' -f "$FAR/host_key" -C far-end
    ssh-keygen -q -t ed25519 -N '' -f "$NEAR/user_key" -C observer
}
# start_sshd [CONFIG LINE...]: a private server on a free port ($PORT) of $FAR_IP, whose only
# key may only run skyferry-pull receive. Lines given come first and so win. HOME is ours,
# so that no ~/.bashrc of the account that runs the tests has a part in them.
start_sshd() {
    local sshd line
    sshd=$(command -v sshd || echo /usr/sbin/sshd)
    make_keys
    [ "$(id -u)" -ne 0 ] || mkdir -p /run/sshd
    printf 'restrict,command="%s" %s\n' \
        "${FORCED:-$BIN/skyferry-pull -c $FAR/pull.conf receive}" "$(cat "$NEAR/user_key.pub")" >"$FAR/authorized_keys"
    chmod 600 "$FAR/authorized_keys"
    for _ in {1..20}; do
        PORT=${PORT:-$((20000 + RANDOM % 20000))}
        {
            for line in "$@"; do echo "$line"; done
            cat <<CONF
ListenAddress $FAR_IP
Port $PORT
HostKey $FAR/host_key
AuthorizedKeysFile $FAR/authorized_keys
PidFile none
UsePAM no
StrictModes no
PasswordAuthentication no
PermitRootLogin prohibit-password
SetEnv HOME=$FAR
LogLevel INFO
CONF
        } >"$FAR/sshd_config"
        SSHD_SAID=$(stat -c %s "$FAR/sshd.log" 2>/dev/null || echo 0)
        start sshd "$FAR/sshd.log" "${FAR_RUN[@]}" "$sshd" -D -e -f "$FAR/sshd_config"
        if wait_for 5 sshd_settled && listening; then
            printf '[%s]:%s %s\n' "$FAR_IP" "$PORT" "$(cut -d' ' -f1,2 "$FAR/host_key.pub")" >"$NEAR/known_hosts"
            return 0
        fi
        stop sshd
        PORT=
    done
    echo "not ok - a private sshd could be started"
    cat "$FAR/sshd.log"
    exit 1
}
# Ours, not somebody else's on that port: the server says so itself, since its last start.
listening() { running sshd && tail -c "+$((SSHD_SAID + 1))" "$FAR/sshd.log" | grep -q '^Server listening'; }
sshd_settled() { listening || ! running sshd; }
# Ends the server and every connection's processes, as a reboot would. PORT is kept. They stand
# still first: none may fork a child that is missed.
kill_sshd() {
    local pid=${PID[sshd]:-} all= before=none
    [ -n "$pid" ] || return 0
    while [ "$all" != "$before" ]; do
        before=$all
        kill -STOP "$pid" $all 2>/dev/null
        all=$(descendants "$pid")
    done
    [ -z "$all" ] || kill -KILL $all 2>/dev/null
    stop sshd KILL
}
# The connections' processes only: the line is cut, the server goes on.
cut_line() {
    local child
    for child in $(descendants "${PID[sshd]}"); do kill -KILL "$child" 2>/dev/null; done
}
descendants() {
    local child
    for child in $(cat /proc/"$1"/task/*/children 2>/dev/null); do
        descendants "$child"
        echo "$child"
    done
}

# ---- configurations ----

# write_pull [SECTION.KEY=VALUE...] and write_push [...]: a working configuration with these
# settings on top.
write_pull() {
    write_conf "$FAR/pull.conf" store.root="$STORE" store.min_free_gib=0 store.rescan_seconds=2 \
        camera.profile="$TOP/etc/cameras/${CAMERA:-generic}.conf" log.file=none log.level=debug "$@"
}
write_push() {
    write_conf "$NEAR/push.conf" watch.directory="$WATCH" watch.rescan_seconds=2 \
        watch.settle_seconds=1 watch.give_up_seconds=6 watch.silence_seconds=0 \
        camera.profile="$TOP/etc/cameras/${CAMERA:-generic}.conf" \
        ship.host="$FAR_IP" ship.port="${PORT:-1}" ship.user="$(id -un)" \
        ship.identity="$NEAR/user_key" ship.known_hosts="$NEAR/known_hosts" ship.lanes=2 \
        spool.directory="$SPOOL" log.level=debug "$@"
}
# write_conf FILE SECTION.KEY=VALUE...: an INI file; of a key given twice the last counts.
write_conf() {
    local file=$1
    shift
    printf '%s\n' "$@" | awk '
        { at = index($0, "="); name = substr($0, 1, at - 1); value[name] = substr($0, at + 1) }
        END { for (name in value) print name "\t" value[name] }' | sort | awk -F'\t' '
        { split($1, part, "."); if (part[1] != last) { print "[" part[1] "]"; last = part[1] }
          print part[2] " = " $2 }' >"$file"
}

# ---- the agents ----

push() { "${NEAR_RUN[@]}" "$BIN/skyferry-push" -c "$NEAR/push.conf" "$@"; }
pull() { "$BIN/skyferry-pull" -c "$FAR/pull.conf" "$@"; }
start_push() { start push "$NEAR/push.log" "${NEAR_RUN[@]}" "$BIN/skyferry-push" -c "$NEAR/push.conf" run "$@"; }
start_pull() { start pull "$FAR/pull.log" "$BIN/skyferry-pull" -c "$FAR/pull.conf" run "$@"; }
# Both ends with default settings, ready to go.
start_all() {
    write_pull
    start_sshd
    write_push
    start_pull
    start_push
}
# camera ARGUMENTS: a small exposure or more of 4 ccds into $WATCH.
camera() { "$BIN/simcam" --out "${OUT:-$WATCH}" --ccds "${CCDS:-4}" --size "${SIZE:-256x256}" "$@"; }

# push_states / pull_states: "NAME STATE" lines, sorted.
push_states() { push status --json | jq -r '.exposures[] | "\(.name) \(.state)"' | sort; }
pull_states() { pull status --json | jq -r '.exposures[] | "\(.name) \(.state)"' | sort; }
# How many exposures are in a state.
push_count() { push_states | grep -c " $1\$"; }
pull_count() { pull_states | grep -c " $1\$"; }
push_has() { [ "$(push_count "$2")" -eq "$1" ]; }
pull_has() { [ "$(pull_count "$2")" -eq "$1" ]; }
# The FITS files placed.
placed() { find "$STORE/rawdata" -name '*.fits' -not -name '.*' 2>/dev/null; }
placed_count() { placed | wc -l; }
