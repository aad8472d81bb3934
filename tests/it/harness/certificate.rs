//! Certificates for the servers that scenarios start, made by openssl.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

/// A key and a certificate of its own for this name: both in the file of that name, and the certificate alone beside it
/// with the ending `crt`.
pub fn certificate(folder: &Path, name: &str) {
    let file = folder.join(name);
    let alone = folder.join(format!("{name}.crt"));
    let status = Command::new("openssl")
        .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"])
        .args(["-subj", &format!("/CN={name}"), "-addext", &format!("subjectAltName=DNS:{name}")])
        .arg("-keyout")
        .arg(&file)
        .arg("-out")
        .arg(&alone)
        .stderr(Stdio::null())
        .status();
    assert!(status.is_ok_and(|status| status.success()), "openssl is installed by scripts/test");
    let both = [fs::read(&file).expect("a key"), fs::read(&alone).expect("a certificate")];
    fs::write(&file, both.concat()).expect("a temporary file");
}
