#!/usr/bin/env bash
# Builds the wheel and the source archive, and installs each into a bare environment: the core alone opens, reads and
# verifies a store, and a command whose packages are missing names the extra to install.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python=${PYTHON:-python3}
"$python" -m venv "$folder/build"
"$folder/build/bin/pip" install --quiet -c constraints.txt build
PYTHONWARNINGS=ignore "$folder/build/bin/python" -m build --outdir "$folder/dist" . >/dev/null

for archive in "$folder"/dist/*; do
    "$python" -m venv --clear "$folder/bare"
    "$folder/bare/bin/pip" install --quiet -c constraints.txt "$archive"
    for package in torch dask av h5py lightning; do
        if "$folder/bare/bin/python" -c "import $package" 2>/dev/null; then
            echo "$archive: the core brings $package" >&2
            exit 1
        fi
    done
    cp -r tests/stores/written_by_0_1_0.zarr "$folder/old.zarr"
    (
        cd "$folder"
        bare/bin/python -c "
from longvid.stores import FeatureStore
store = FeatureStore.open('old.zarr')
key = store.keys()[0]
print(store, store.video(key).read(0, 1).shape)"
        bare/bin/longvid info old.zarr >/dev/null
        bare/bin/longvid verify old.zarr
        bare/bin/longvid export old.zarr npy >/dev/null
        said=$(bare/bin/longvid extract video.mp4 --encoder patch-statistics --out x.zarr 2>&1) && exit 1
        [[ $said == *"pip install 'longvid[extract]'"* ]] || { echo "extract said: $said" >&2; exit 1; }
        echo "$said"
    )
    rm -rf "$folder/old.zarr" "$folder/npy"
    echo "$(basename "$archive"): installed alone, and read a store"
done
