//! Servers and `known_hosts` files about which the real `ssh` is asked, too.

/// `known_hosts` with `{name}` for keys, the host, lines of configuration, and the server's keys.
pub type Case = (
    &'static str,
    &'static str,
    &'static str,
    &'static [&'static str],
);

/// A host whose key must be on record.
pub const STRICT: &str = "StrictHostKeyChecking yes\n";

/// What is compared.
pub const CASES: &[Case] = &[
    // Plain keys.
    ("", "h", STRICT, &["ed"]),
    ("h {ed}\n", "h", STRICT, &["ed"]),
    ("h {ed}\n", "H", STRICT, &["ed"]),
    ("H.Example {ed}\n", "h.example", STRICT, &["ed"]),
    ("h {ed2}\n", "h", STRICT, &["ed"]),
    ("h {ed2}\nh {ed}\n", "h", STRICT, &["ed"]),
    ("other {ed}\n", "h", STRICT, &["ed"]),
    ("a,h,b {ed}\n", "h", STRICT, &["ed"]),
    ("h {ed} a comment\n", "h", STRICT, &["ed"]),
    ("  \t h \t {ed}\r\n", "h", STRICT, &["ed"]),
    ("# h\n\nnonsense\nh {ed}\n", "h", STRICT, &["ed"]),
    ("h ssh-ed25519 AAAA\n", "h", STRICT, &["ed"]),
    ("h {ed2}\n", "h", "", &["ed"]),
    ("", "h", "", &["ed"]),
    // Wildcards and negation.
    ("*.example {ed}\n", "h.example", STRICT, &["ed"]),
    ("*.example,!h.example {ed}\n", "h.example", STRICT, &["ed"]),
    ("!h.example,*.example {ed}\n", "h.example", STRICT, &["ed"]),
    ("!g.example,*.EXAMPLE {ed}\n", "h.example", STRICT, &["ed"]),
    ("?.example {ed}\n", "h.example", STRICT, &["ed"]),
    ("!x {ed}\n", "h", STRICT, &["ed"]),
    ("* {ed2}\nh {ed}\n", "h", STRICT, &["ed"]),
    // Ports and aliases.
    (
        "[h]:2200 {ed}\n",
        "h",
        "StrictHostKeyChecking yes\nPort 2200\n",
        &["ed"],
    ),
    (
        "h {ed}\n",
        "h",
        "StrictHostKeyChecking yes\nPort 2200\n",
        &["ed"],
    ),
    ("[h]:2200 {ed}\n", "h", STRICT, &["ed"]),
    (
        "[h]:2200 {ed2}\nh {ed}\n",
        "h",
        "StrictHostKeyChecking yes\nPort 2200\n",
        &["ed"],
    ),
    (
        "h {ed2}\n",
        "h",
        "StrictHostKeyChecking yes\nPort 2200\n",
        &["ed"],
    ),
    (
        "[*]:2200 {ed}\n",
        "h",
        "StrictHostKeyChecking yes\nPort 2200\n",
        &["ed"],
    ),
    ("[*]:* {ed}\n", "h", STRICT, &["ed"]),
    (
        "alias {ed}\n",
        "h",
        "StrictHostKeyChecking yes\nHostKeyAlias alias\nPort 2200\n",
        &["ed"],
    ),
    (
        "h {ed}\n",
        "h",
        "StrictHostKeyChecking yes\nHostKeyAlias alias\n",
        &["ed"],
    ),
    (
        "real.example {ed}\n",
        "h",
        "StrictHostKeyChecking yes\nHostName Real.Example\n",
        &["ed"],
    ),
    (
        "h {ed}\n",
        "h",
        "StrictHostKeyChecking yes\nHostName real.example\n",
        &["ed"],
    ),
    // Several types: what is known decides what is asked for.
    ("h {ec}\n", "h", STRICT, &["ed", "ec"]),
    ("h {ed}\nh {ec}\n", "h", STRICT, &["ed", "ec"]),
    ("h {ed}\n", "h", STRICT, &["ec"]),
    (
        "h {ec}\n",
        "h",
        "StrictHostKeyChecking yes\nHostKeyAlgorithms ssh-ed25519,ecdsa-sha2-nistp256\n",
        &["ed", "ec"],
    ),
    (
        "h {ec}\n",
        "h",
        "StrictHostKeyChecking yes\nHostKeyAlgorithms +ssh-rsa\n",
        &["ed", "ec"],
    ),
    (
        "h {ec}\n",
        "h",
        "StrictHostKeyChecking yes\nHostKeyAlgorithms ^ssh-ed25519\n",
        &["ed", "ec"],
    ),
    // Revoked keys.
    ("@revoked * {ed}\nh {ed}\n", "h", STRICT, &["ed"]),
    ("@revoked g {ed}\nh {ed}\n", "h", STRICT, &["ed"]),
    ("@revoked h {ed}\n", "h", STRICT, &["ed"]),
    (
        "@revoked h {ed}\nh {ed}\n",
        "h",
        "StrictHostKeyChecking accept-new\n",
        &["ed"],
    ),
    (
        "@revoked * {ca}\n@cert-authority * {ca}\nh {ed}\n",
        "h",
        STRICT,
        &["ed", "ed-cert"],
    ),
    // Certificates: `ed` is certified by `ca` for h and *.example.
    ("@cert-authority h {ca}\n", "h", STRICT, &["ed", "ed-cert"]),
    ("@cert-authority * {ca}\n", "h", STRICT, &["ed", "ed-cert"]),
    ("@cert-authority * {ca}\n", "g", STRICT, &["ed", "ed-cert"]),
    (
        "@cert-authority * {ca}\n",
        "g.example",
        STRICT,
        &["ed", "ed-cert"],
    ),
    (
        "@cert-authority * {ca}\n",
        "h",
        "StrictHostKeyChecking yes\nPort 2200\n",
        &["ed", "ed-cert"],
    ),
    (
        "@cert-authority [*]:2200 {ca}\n",
        "h",
        "StrictHostKeyChecking yes\nPort 2200\n",
        &["ed", "ed-cert"],
    ),
    (
        "@cert-authority * {ca}\n",
        "g",
        "StrictHostKeyChecking yes\nHostKeyAlias h\n",
        &["ed", "ed-cert"],
    ),
    ("@cert-authority * {ca2}\n", "h", STRICT, &["ed", "ed-cert"]),
    (
        "@cert-authority * {ca2}\nh {ed}\n",
        "h",
        STRICT,
        &["ed", "ed-cert"],
    ),
    (
        "@cert-authority * {ca2}\nh {ed2}\n",
        "h",
        STRICT,
        &["ed", "ed-cert"],
    ),
    ("@cert-authority x {ca}\n", "h", STRICT, &["ed", "ed-cert"]),
    ("h {ca}\n", "h", STRICT, &["ed", "ed-cert"]),
    ("h {ed}\n", "h", STRICT, &["ed", "ed-cert"]),
    (
        "@cert-authority * {ca}\nh {ed2}\n",
        "h",
        STRICT,
        &["ed", "ed-cert"],
    ),
    (
        "@cert-authority * {ca}\nh {ec}\n",
        "h",
        STRICT,
        &["ed", "ed-cert", "ec"],
    ),
    ("@cert-authority * {ca}\n", "h", STRICT, &["ed"]),
    (
        "@cert-authority * {ca}\n",
        "h",
        "StrictHostKeyChecking yes\nCASignatureAlgorithms ecdsa-sha2-nistp256\n",
        &["ed", "ed-cert"],
    ),
    (
        "@cert-authority * {ca}\n",
        "h",
        "StrictHostKeyChecking yes\nHostKeyAlgorithms ssh-ed25519\n",
        &["ed", "ed-cert"],
    ),
];
