#!/bin/sh
# needs.sh COMMAND:PACKAGE...
#
# Sees to it that each command is there: on Debian it installs the package that has it, elsewhere it names what is
# missing. It changes nothing when all are there.
set -eu

missing=
for need in "$@"; do
    command -v "${need%%:*}" >/dev/null 2>&1 || missing="$missing ${need#*:}"
done
[ -z "$missing" ] && exit 0

as_root=
[ "$(id -u)" = 0 ] || as_root=sudo
if ! command -v apt-get >/dev/null 2>&1 || { [ -n "$as_root" ] && ! command -v sudo >/dev/null 2>&1; }; then
    echo "missing:$missing (named as Debian names them); install them, then try again" >&2
    exit 1
fi
echo "installing:$missing" >&2
install() {
    # The names are split on purpose.
    # shellcheck disable=SC2086
    $as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends $missing >&2
}
install || { $as_root apt-get update >&2 && install; }
