#!/bin/sh
# Builds an environment that serves models without a network and without writing a file.
#
#   bake.sh PREFIX MODEL...
#
# A MODEL may be NAME=MODEL and MODEL:KIND, as for `embedry serve`. PREFIX is a new folder; the environment works at this path alone:
#
#   bin/serve      serves the models on every address; takes the options of `embedry serve`
#   embedry.lock   the lock file that the models were fetched by
#   models/        the models and their compiled graphs: EMBEDRY_CACHE
#
# If there is an embedry.lock in the current folder, the models are fetched as it has them, and a model that it lacks
# is an error. Otherwise they are locked as they are registered today.
#
#   PYTHON      the interpreter; by default python3
#   PRECISION   what to compile and serve, such as int8; by default the backend's choice
#
# pip and the hub's client read their own variables: PIP_INDEX_URL, PIP_CONSTRAINT, HF_TOKEN and others.
set -eu
umask 022

if [ $# -lt 2 ]; then
    echo "usage: bake.sh PREFIX MODEL..." >&2
    exit 2
fi
case $1 in
    /*) prefix=$1 ;;
    *) prefix=$PWD/$1 ;;
esac
shift
if [ -e "$prefix" ]; then
    echo "bake.sh: $prefix exists; name a new folder" >&2
    exit 2
fi
checkout=$(cd "$(dirname "$0")/../.." && pwd)

# What a model is called outside a server.
plain() {
    name=${1##*=}
    for kind in dense reranker sparse multi_vector; do
        name=${name%":$kind"}
    done
    printf '%s' "$name"
}

# Half an environment would be in the way of the next call.
trap 'rm -rf "$prefix"' EXIT
trap 'exit 130' INT TERM

# The distributions are on no index, so one pip call resolves them among each other.
"${PYTHON:-python3}" -m venv "$prefix"
"$prefix/bin/python" -m pip install --quiet --disable-pip-version-check --no-compile \
    "$checkout/core" \
    "$checkout/backends/graphs" "$checkout/backends/onnxruntime" "$checkout/backends/static" \
    "$checkout/plugins/models" "$checkout/plugins/layouts" "$checkout/plugins/cli" "$checkout/plugins/server"
find "$prefix/lib" -depth -type d -name tests -exec rm -r {} +
# Nothing can be compiled where the environment is read-only. Copies may have other times, so these are not compared.
"$prefix/bin/python" -m compileall -q -j 0 --invalidation-mode unchecked-hash "$prefix/lib"

unset EMBEDRY_LOCK EMBEDRY_BACKEND
export EMBEDRY_CACHE="$prefix/models"
if [ -f embedry.lock ]; then
    export EMBEDRY_LOCK="$PWD/embedry.lock"
else
    for model in "$@"; do
        "$prefix/bin/embedry" lock "$(plain "$model")" --file "$prefix/embedry.lock"
    done
    export EMBEDRY_LOCK="$prefix/embedry.lock"
fi
for model in "$@"; do
    "$prefix/bin/embedry" pull "$(plain "$model")" --locked --compile ${PRECISION:+--precision "$PRECISION"}
done
[ -e "$prefix/embedry.lock" ] || cp embedry.lock "$prefix/embedry.lock"

{
    echo "#!/bin/sh"
    printf "exec '%s' serve" "$prefix/bin/embedry"
    printf " '%s'" "$@"
    echo " ${PRECISION:+--precision $PRECISION }--host 0.0.0.0 \"\$@\""
} >"$prefix/bin/serve"
chmod 755 "$prefix/bin/serve"

# pip has fetched what was to be fetched.
rm -rf "$prefix"/bin/pip* "$prefix"/lib/python*/site-packages/pip "$prefix"/lib/python*/site-packages/pip-*.dist-info
trap - EXIT
