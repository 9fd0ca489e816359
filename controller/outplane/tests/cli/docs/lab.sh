# What pages may take for granted, for `<!-- test setup: lab -->`: an empty store, a switch without ports, and the files
# of nodes. `lab` starts no node, `nodes` starts all three.

lab() {
    umask 077
    mkdir -p secrets && openssl rand -hex 16 >secrets/rmdp-key-1 && openssl rand -hex 16 >secrets/store
    for name in d1 c1 c2; do
        sed "s/\"d1\"/\"$name\"/; s/127.0.0.1:9465/off/" examples/nodes/distributor.toml >"$name.toml"
        printf '\n[log]\nlevel = "error"\n' >>"$name.toml"
    done
    cp d1.toml node.toml
    OUTPLANE_STORE_ACCESS_KEY=outplane OUTPLANE_STORE_SECRET_KEY=$(cat secrets/store) \
        outplane store --dir objects >store.log 2>&1 &
    outplane softswitch --no-ports >switch.log 2>&1 &
    says store.log listening
    says switch.log listening
}

nodes() {
    outplane config set examples/shared.toml --config node.toml
    outplane distributor --config d1.toml >d1.log 2>&1 &
    outplane controller --config c1.toml >c1.log 2>&1 &
    outplane controller --config c2.toml >c2.log 2>&1 &
    says d1.log 'is up'
    says c1.log 'is up'
    says c2.log 'is up'
}

# Waits until a log says something.
says() {
    for _ in $(seq 600); do
        if grep -q "$2" "$1"; then return 0; fi
        sleep 0.05
    done
    echo "$1 does not say: $2" >&2
    cat "$1" >&2
    return 1
}
