# Exposures for the long line, made once and kept in build/wan; source it after lib.sh.
# expose FILE EXPNUM CCDS SIZE: one of the simulated camera, tile-compressed
DATA=$TOP/build/wan
mkdir -p "$DATA"
expose() {
    [ -s "$1" ] && return
    echo "# making ${1##*/}" >&2
    mkdir -p "$DATA/making"
    CAMERA=generic OUT=$DATA/making CCDS=$3 SIZE=$4 camera --expnum "$2" --seed "$2" --object Field --quiet >/dev/null &&
        mv "$DATA"/making/* "$1" || exit 1
}
# full_exposures COUNT: 62 ccds, 297 MB each; their paths in FULL
full_exposures() {
    local i
    FULL=()
    for ((i = 0; i < $1; i++)); do
        expose "$DATA/steady-$i.fits.fz" $((700000 + i)) 62 2160x4146
        FULL+=("$DATA/steady-$i.fits.fz")
    done
}
# close_file FILE [NAME]: it appears in the watched folder as by a camera's rename; sets closed_ns
close_file() {
    local name=${2:-${1##*/}}
    ln "$1" "$WATCH/.$name" 2>/dev/null || cp "$1" "$WATCH/.$name"
    closed_ns=$(date +%s%N)
    mv "$WATCH/.$name" "$WATCH/$name"
}
# write_original: push's configuration for as many bytes as the files have, with the default
# number of connections; PUSH_SET="section.key=value ..." on top
write_original() {
    # shellcheck disable=SC2086
    write_push log.level=info codec.method=original \
        ship.lanes="$("$BIN/skyferry-push" --dump-config | awk '$1 == "lanes" {print $3}')" ${PUSH_SET:-}
}
lanes_up() { [ "$(push status --json | jq '.agent.lanes_up')" -gt 0 ]; }
stored_count() { push status --json | jq '[.exposures[] | select(.stored_ns != null)] | length'; }
# no_more WHAT VALUE LIMIT: a check that says the figure
no_more() {
    if awk -v v="$2" -v l="$3" 'BEGIN {exit !(v ~ /^-?[0-9]/ && v + 0 <= l)}'; then
        pass "$1: $2 (at most $3)"
    else
        fail "$1: $2 (at most $3)"
    fi
}
