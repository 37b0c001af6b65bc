#!/bin/bash
# The far end's books: reprocess with and without a daemon, what happens when a name is taken,
# verify names every kind of damage, and rebuild makes the same catalogue from the tree alone.
. "$(dirname "$0")/lib.sh"
write_pull jobs.ccds_per_job=2
start_sshd
write_push
camera --night "bias:1,object:Alpha:g:2,object:Beta:r:1" --expnum 210001 --date-obs 2024-04-05T03:00:00 --quiet >/dev/null
camera --object Gamma --expnum 210005 --date-obs 2024-04-07T03:00:00 --quiet >/dev/null
start_pull
exits "five exposures of two nights are delivered" 0 push sweep
eventually "and done" 40 pull_has 5 done
raw() { pull status --json "$1" | jq -r ".exposures[0]$2"; }
runs() { find "$STORE/jobs" -path "*$1/q*/result.json" -printf '%T@ '; }
asked() { grep -c "exposure=$1: reprocessing asked for" "$FAR/pull.log"; }
sums() { find "$STORE/rawdata" -name '*.fits' -exec sha256sum {} + | sort; }
tree=$(sums)

# ---- a list: blank lines, blanks, comments, duplicates, a missing name ----
printf '%s\n' "" "DECam_00210002" "   " "DECam_00210003.tar  " "DECam_00210002" "# a comment" "ut240405/DECam_00210004.tar" "" >"$WORK/list"
before=$(runs 210003)
exits "reprocess LIST with a running daemon" 0 pull reprocess "$WORK/list"
says "tells how each ended" "$WORK/out" 'DECam_00210003: done, 4 of 4 ccds placed, 2 of 2 jobs done'
same "its jobs ran again" "$([ "$(runs 210003)" != "$before" ] && echo yes)" yes
same "a name given twice is done once" "$(asked DECam_00210002) $(grep -c '^DECam_00210002:' "$WORK/out")" "1 1"
same "others are left alone" "$(asked DECam_00210001)" 0
same "the files are the same" "$(sums)" "$tree"
echo "DECam_00999999" >>"$WORK/list"
exits "a missing name: the rest is done, exit 3" 3 pull reprocess "$WORK/list"
says "and it is named" "$WORK/out" "no exposure 'DECam_00999999'"
same "the rest was done" "$(asked DECam_00210002)" 2
printf 'DECam_00210003\n' >"$WORK/short"
exits "a list from standard input" 0 sh -c "'$BIN/skyferry-pull' -c '$FAR/pull.conf' reprocess - <'$WORK/short'"
same "was read" "$(asked DECam_00210003)" 3
exits "no list at all is a usage error" 2 pull reprocess
exits "a list that is not there is a failure" 1 pull reprocess "$WORK/nolist"
exits "--night takes all of that night" 0 pull reprocess --night ut240407
same "and no other" "$(asked DECam_00210005) $(asked DECam_00210001)" "1 0"
exits "a malformed night is a usage error" 2 pull reprocess --night 240407
exits "--run-date is not for a daemon that places by itself" 1 pull reprocess --run-date ut240101 "$WORK/short"
says "which is said" "$WORK/out" 'run-date'
same "nothing was placed there" "$(ls "$STORE/rawdata" | tr '\n' ' ')" "ut240405 ut240407 "

stop pull
before=$(runs 210004)
printf 'DECam_00210004\n' >"$WORK/short"
exits "reprocess without a daemon does it itself" 0 pull reprocess "$WORK/short"
same "its jobs ran again" "$([ "$(runs 210004)" != "$before" ] && echo yes)" yes
same "the files are the same" "$(sums)" "$tree"
exits "--run-date places it under that night" 0 pull reprocess --run-date ut240101 "$WORK/short"
same "four ccds" "$(find "$STORE/rawdata/ut240101" -name '*ut240101*.fits' | wc -l)" 4
exits "and back" 0 pull reprocess "$WORK/short"
rm -r "$STORE/rawdata/ut240101"
exits "verify is content" 0 pull verify
says "and says how much it read" "$WORK/out" '20 placed files and 5 bundles checked, 0 problems'

# ---- verify names each damage ----
flip() { printf '\377\376' | dd of="$1" bs=1 seek="$2" conv=notrunc status=none; }
victim() { placed | grep "$1"; }
copy() { cp -a "$1" "$WORK/saved.$2"; }
flipped=$(victim '210002_1.fits') missing=$(victim '210002_2.fits') swapped=$(victim '210003_1.fits')
cut=$(victim '210003_2.fits') tar=$(ls "$STORE"/bundles/*/DECam_00210001.tar)
copy "$flipped" flipped; copy "$missing" missing; copy "$swapped" swapped; copy "$cut" cut
flip "$flipped" $(($(stat -c %s "$flipped") - 4000))
rm "$missing"
cp "$(victim '210004_1.fits')" "$swapped"
truncate -s -2880 "$cut"
flip "$tar" 20000
cp "$cut" "${flipped%/*}/stranger.fits"
exits "damage is exit 3" 3 pull verify
for what in "${flipped##*/}: .*(CHECKSUM|DATASUM)" "${missing##*/}: is missing" "${swapped##*/}: .*not the file that was placed" \
    "${cut##*/}: has [0-9]+ bytes instead of" "DECam_00210001.tar: .*SHA-256.*remove it, then skyferry-push sweep" "stranger.fits: is not in the catalogue" '6 problems'; do
    says "verify says: $what" "$WORK/out" "$what"
done
printf 'DECam_00210002\n' >"$WORK/short"
exits "reprocess keeps a file of other bytes, and says so" 3 pull reprocess "$WORK/short"
same "the flipped ccd is parked, the missing one is back" "$(raw DECam_00210002 .ccds_placed) $(test -f "$missing" && echo there)" "3 there"
raw DECam_00210002 '.ccd_list[0].reason' >"$WORK/reason"
says "with its reason" "$WORK/reason" 'other bytes.*--force'
printf 'DECam_00210002\nDECam_00210003\n' >"$WORK/short"
exits "--force replaces them" 0 pull reprocess --force "$WORK/short"
rm "${flipped%/*}/stranger.fits"
rm "$tar"
exits "a bundle that is gone is exit 3" 3 pull verify
says "and named" "$WORK/out" 'DECam_00210001.tar: is missing .*skyferry-push sweep'
exits "the telescope's sweep sends it again" 0 push sweep
exits "and verify is content again" 0 pull verify
same "the tree is as it was" "$(sums)" "$tree"

# ---- the catalogue from the tree ----
write_pull jobs.ccds_per_job=2 jobs.command=/bin/false jobs.retries=0 # a failed job is kept, too
printf 'DECam_00210005\n' >"$WORK/short"
exits "an exposure whose jobs fail is not whole" 3 pull reprocess "$WORK/short"
write_pull jobs.ccds_per_job=2
picture() {
    pull status --json DECam_0021000{1,2,3,4,5} | jq -S '[.exposures[] | del(.indexed, .indexed_ns, .attempts, .reason) |
        .ccd_list |= map(del(.placed, .placed_ns)) | del(.placed, .placed_ns, .done, .done_ns) |
        if .name == "DECam_00210001" then del(.noticed, .noticed_ns, .encoded, .encoded_ns, .first, .first_ns,
            .stored, .stored_ns) else . end]' # that one was sent twice
}
picture >"$WORK/before"
exits "rebuild" 0 pull rebuild
says "tells what it found" "$WORK/out" '5 exposures, 20 of 20 ccds placed, 10 jobs'
picture >"$WORK/after"
check "the catalogue says the same as before" diff -u "$WORK/before" "$WORK/after"
rm -rf "$STORE/state"
exits "rebuild of a lost catalogue" 0 pull rebuild
picture >"$WORK/after"
check "says the same again" diff -u "$WORK/before" "$WORK/after"
exits "verify is content with it" 0 pull verify
damaged=$(victim '210003_1.fits')
flip "$damaged" $(($(stat -c %s "$damaged") - 4000))
pull rebuild >"$WORK/out" 2>&1
says "a damaged file is not taken for a placed ccd" "$WORK/out" '19 of 20 ccds placed'
says "it is named, with the remedy" "$WORK/out" "${damaged##*/} is damaged.*remove it"
rm "$damaged"
exits "reprocess makes it anew" 0 pull reprocess --name DECam_00210003
exits "and all is well" 0 pull verify
start_pull
wait_for 5 eval 'pull status --json | jq -e ".daemon > 0"'
exits "not beside a running daemon" 1 pull rebuild
says "which is said" "$WORK/out" 'stop it first'
same "the daemon does nothing twice" "$(sleep 1; grep -c 'q[0-9]* begun' "$FAR/pull.log" | tail -n 1)" "$(grep -c 'q[0-9]* begun' "$FAR/pull.log")"
pull status >"$WORK/table"
same "the table is at most 80 columns wide" "$(awk 'length > 80' "$WORK/table" | wc -l)" 0
pull status DECam_00210005 >"$WORK/table"
same "so are the details" "$(awk 'length > 80' "$WORK/table" | wc -l)" 0
push status >"$WORK/table"
push status DECam_00210005 >>"$WORK/table"
same "so is the other end's" "$(awk 'length > 80' "$WORK/table" | wc -l)" 0

# ---- when the name is taken ----
mkdir "$WATCH/b" "$WATCH/c"
twin() { OUT=$1 camera --object Delta --expnum 210010 --seed "$2" --date-obs 2024-04-05T05:00:00 --quiet >/dev/null; }
sha() { sha256sum "$1/DECam_00210010.fits.fz" | cut -d' ' -f1; }
from() { debian_python -c "from astropy.io import fits; import sys; print(fits.getheader(sys.argv[1])['SFSHA'])" "$1"; }
first=$STORE/rawdata/ut240405/1/Delta.g.ut240405.210010_1.fits
twin "$WATCH" 1; twin "$WATCH/b" 2; twin "$WATCH/c" 3
exits "three files of one name: the first" 0 push send "$WATCH/DECam_00210010.fits.fz"
state_is() { pull_states | grep -q "^$1 $2\$"; }
eventually "is placed" 20 state_is DECam_00210010 done
exits "park: the second is delivered" 0 push send "$WATCH/b/DECam_00210010.fits.fz"
eventually "and comes to its end" 20 state_is DECam_00210010~2 done
same "its ccds are parked" "$(raw DECam_00210010~2 .faults)" 4
same "the first one's are untouched" "$(from "$first")" "$(sha "$WATCH")"
write_pull jobs.ccds_per_job=2 place.on_conflict=version
reload_pull
exits "version: retry places them beside the first" 0 pull retry DECam_00210010~2
same "as NAME~2.fits" "$(from "${first%.fits}~2.fits")" "$(sha "$WATCH/b")"
same "the first one's are untouched" "$(from "$first")" "$(sha "$WATCH")"
exits "verify knows both" 0 pull verify
write_pull jobs.ccds_per_job=2 place.on_conflict=replace
reload_pull
exits "replace: the third is delivered" 0 push send "$WATCH/c/DECam_00210010.fits.fz"
eventually "and done" 20 state_is DECam_00210010~3 done
same "it has the name now" "$(from "$first")" "$(sha "$WATCH/c")"
same "no file is left over" "$(find "$STORE/rawdata" -name '*210010_1*' | wc -l)" 2
same "all three bundles are kept" "$(find "$STORE/bundles" -name 'DECam_00210010*.tar' | wc -l)" 3

# ---- the workspace ----
write_pull jobs.ccds_per_job=2 place.workspace=copy
reload_pull
printf 'DECam_00210001\nDECam_00210002\n' >"$WORK/short"
exits "workspace = copy" 0 pull reprocess "$WORK/short"
work=$STORE/workspace/ut240405/1/Alpha.g.ut240405.210002_1.fits
check "science ccds are there too" cmp "$work" "$flipped"
same "as files of their own" "$(stat -c %h "$work")" 1
same "a bias is not" "$(find "$STORE/workspace" -name 'bias*' | wc -l)" 0
echo "somebody's work" >"$work"
exits "reprocess again" 0 pull reprocess "$WORK/short"
same "leaves somebody's work there alone" "$(cat "$work")" "somebody's work"
finish
