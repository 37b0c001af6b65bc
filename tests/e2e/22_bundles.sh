#!/bin/bash
# Bundles that come by hand (copied, carried on a disk): a good one is filed, unpacked and
# measured like any other; each broken one is parked with its own reason and stays where it is.
# The stand-alone unpack judges them alike by its exit status.
. "$(dirname "$0")/lib.sh"
write_pull
start_sshd
write_push

# The seed of all: a real bundle.
camera --object Hand --expnum 220001 --date-obs 2024-04-05T03:00:00 --quiet >/dev/null
exits "a bundle to begin with" 0 push send "$WATCH/DECam_00220001.fits.fz"
cp "$STORE/bundles/ut240405/DECam_00220001.tar" "$WORK/good.tar"
wait_for 10 eval '[ -z "$(descendants "${PID[sshd]}")" ]'
rm -rf "$STORE" && mkdir -p "$STORE"
same "it is the only trace" "$(find "$STORE" | wc -l)" 1

cat >"$WORK/forge.py" <<'PY'
# forge.py GOOD FOLDER: one broken bundle of each kind, each with a good bundle's other parts.
import hashlib, io, json, os, sys, tarfile
good, folder = sys.argv[1], sys.argv[2]
KEY = 'SCHILY.xattr.user.skyferry.sha256'
members = []
with tarfile.open(good) as t:
    for m in t:
        members.append([m.name, t.extractfile(m).read()])
manifest = json.loads(members[-1][1])

def write(name, parts, digests={}):
    with tarfile.open(os.path.join(folder, name + '.tar'), 'w', format=tarfile.PAX_FORMAT) as t:
        for member, data in parts:
            i = tarfile.TarInfo(member)
            i.size, i.mode = len(data), 0o644
            i.pax_headers = {KEY: digests.get(member, hashlib.sha256(data).hexdigest())}
            t.addfile(i, io.BytesIO(data))

def copy():
    return [list(p) for p in members]

def renamed(old, new):
    """The member under a bad name, in the tar and in the manifest."""
    m = json.loads(json.dumps(manifest))
    for one in m['members']:
        if one['name'] == old:
            one['name'] = new
    return [[new if n == old else n, d] for n, d in members[:-1]] + [['manifest.json', json.dumps(m).encode()]]

def under_name(name):
    m = dict(manifest, name=name)
    return members[:-1] + [['manifest.json', json.dumps(m).encode()]]

pixels = next(m['name'] for m in manifest['members'] if m['role'] == 'image')
write('remade', under_name('Remade_00220002'))              # good, in another tar program's words
write('missing', [p for p in copy() if p[0] != pixels])
write('extra', copy()[:-1] + [['smuggled.sh', b'#!/bin/sh\n']] + copy()[-1:])
write('absolute', renamed(pixels, folder + '/escaped'))
write('dotdot', renamed(pixels, '../escaped'))
write('digest', copy(), {pixels: '0' * 64})
write('garbage', copy()[:-1] + [['manifest.json', b'{"format": 1, "name": ']])
write('later', copy()[:-1] + [['manifest.json', json.dumps(dict(manifest, format=7)).encode()]])
write('unlisted', copy()[:-1])
write('twice', copy()[:1] + copy())
raw = open(good, 'rb').read()
open(os.path.join(folder, 'truncated.tar'), 'wb').write(raw[:len(raw) * 2 // 3])
open(os.path.join(folder, 'notar.tar'), 'wb').write(b'these are my notes\n' * 2000)
open(os.path.join(folder, 'empty.tar'), 'wb').close()
at = raw.find(members[[m[0] for m in members].index(pixels)][1])
open(os.path.join(folder, 'pixels.tar'), 'wb').write(raw[:at + 100] + bytes(64) + raw[at + 164:])
link = tarfile.TarInfo('link')
link.type, link.linkname = tarfile.SYMTYPE, '/etc/passwd'
with tarfile.open(os.path.join(folder, 'link.tar'), 'w', format=tarfile.PAX_FORMAT) as t:
    t.addfile(link)
PY
mkdir "$WORK/forged"
/usr/bin/python3 "$WORK/forge.py" "$WORK/good.tar" "$WORK/forged"

# What is wrong with each, in the words that both tools use.
declare -A words=(
    [missing]='member .* of the manifest is missing' [extra]='smuggled.sh is not in the manifest'
    [absolute]='absolute path' [dotdot]='".." in its path' [digest]='SHA-256'
    [garbage]='manifest' [later]='format 7' [unlisted]='without manifest.json' [twice]='twice'
    [pixels]='is damaged' [truncated]='truncated' [notar]='no plain tar' [empty]='empty|no plain tar|without manifest.json' [link]='is a link'
)
kinds="missing extra absolute dotdot digest garbage later unlisted twice truncated notar empty link"
escaped() { find "$WORK" -name escaped; }

# ---- the stand-alone tool ----
unpack() { "$BIN/skyferry-pull" unpack "$@"; }
exits "unpack: the good one" 0 unpack "$WORK/good.tar" --to "$WORK/to/good"
same "four ccds" "$(find "$WORK/to/good" -name '*.fits' | wc -l)" 4
exits "unpack: one that another tar program wrote" 0 unpack "$WORK/forged/remade.tar" --to "$WORK/to/remade"
for kind in $kinds; do
    exits "unpack: $kind is refused" 1 unpack "$WORK/forged/$kind.tar" --to "$WORK/to/$kind"
    says "  and the reason is said" "$WORK/out" "${words[$kind]}"
    same "  and nothing was written" "$(find "$WORK/to/$kind" -type f 2>/dev/null | wc -l)" 0
done
exits "unpack: damaged pixels of one ccd: the others are made, exit 3" 3 unpack "$WORK/forged/pixels.tar" --to "$WORK/to/pixels"
same "three of four" "$(find "$WORK/to/pixels" -name '*.fits' | wc -l)" 3
says "the fourth is named" "$WORK/out" 'FAILED: .*damaged'
exits "unpack: a good and a bad one together, exit 3" 3 unpack "$WORK/good.tar" "$WORK/forged/extra.tar" --to "$WORK/to/both"
exits "unpack: no such file" 1 unpack "$WORK/none.tar" --to "$WORK/to/none"
exits "unpack: again over the same files is no harm" 0 unpack "$WORK/good.tar" --to "$WORK/to/good"
echo "mine" >"$WORK/to/good/DECam_00220001_1.fits"
exits "unpack: a file of other content is kept" 3 unpack "$WORK/good.tar" --to "$WORK/to/good"
same "truly" "$(cat "$WORK/to/good/DECam_00220001_1.fits")" mine
exits "unpack: --force replaces it" 0 unpack --force "$WORK/good.tar" --to "$WORK/to/good"
same "nothing was written outside" "$(escaped)" ""

# ---- dropped into the store ----
start_pull
wait_for 5 eval 'pull status --json | jq -e ".daemon > 0"'
# As a slow copy, under the name of the night's folder and under none.
mkdir -p "$STORE/bundles/ut240405"
{ head -c 20000 "$WORK/good.tar"; sleep 2; tail -c +20001 "$WORK/good.tar"; } >"$STORE/DECam_00220001.tar" &
slow=$!
kinds="$kinds pixels" # a whole ccd short, it may not pass for the exposure
for kind in $kinds; do cp "$WORK/forged/$kind.tar" "$STORE/$kind.tar"; done
wait $slow
is() { pull_states | grep -q "^$1 $2\$"; }
reason() { pull status --json "$1" | jq -r '.exposures[0].reason'; }
eventually "the good one is done" 30 is DECam_00220001 done
for kind in $kinds; do
    eventually "$kind is parked" 30 is $kind parked
    reason $kind >"$WORK/reason"
    says "  with its reason" "$WORK/reason" "${words[$kind]}"
    check "  and stays where it is" cmp "$WORK/forged/$kind.tar" "$STORE/$kind.tar"
done
check "the good one is filed under its night" test -f "$STORE/bundles/ut240405/DECam_00220001.tar"
check "with a receipt" jq -e '.name == "DECam_00220001" and .night == "ut240405"' "$STORE/bundles/ut240405/DECam_00220001.receipt"
check "and gone from where it was dropped" test ! -e "$STORE/DECam_00220001.tar"
same "its four ccds are placed" "$(find "$STORE/rawdata" -name 'Hand*220001_*.fits' | wc -l)" 4
same "its jobs are done" "$(pull status --json DECam_00220001 | jq '.exposures[0] | .jobs > 0 and .jobs_done == .jobs')" true
same "no broken one has a job" "$(ls "$STORE"/jobs/* | grep -cE 'missing|extra|digest|garbage')" 0
same "nothing was written outside of the store" "$(escaped)" ""
# The same source file again is no second exposure.
cp "$WORK/good.tar" "$STORE/bundles/ut240405/again.tar"
eventually "the same exposure again is parked as its twin" 30 is again parked
reason again >"$WORK/reason"
says "  with its reason" "$WORK/reason" 'same source file'

# Mended, it is taken up by itself; and the telescope's side knows that it is held.
cp "$WORK/forged/remade.tar" "$WORK/swap" && mv "$WORK/swap" "$STORE/truncated.tar"
eventually "a bundle that is copied again is taken up: another name, the same source file" 30 \
    eval 'pull status --json Remade_00220002 | jq -e ".exposures[0].state == \"parked\""'
exits "sweep finds the exposure that was carried by hand held already" 0 push sweep
says "and sends nothing" "$WORK/out" 'held 1, missing 0'
check "the daemon is still there" running pull
pull status >"$WORK/table"
says "the table tells what is parked" "$WORK/table" '[0-9]+ parked'
says "and why" "$WORK/table" '".." in its path|is a link|there twice|SHA-256|no plain tar'
same "and is at most 80 columns wide" "$(awk 'length > 80' "$WORK/table" | wc -l)" 0
finish
