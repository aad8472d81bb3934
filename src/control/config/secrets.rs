//! Secrets: never in the file, but where it says that they are, `env:NAME` or `file:PATH`.

use super::reader::Reader;
use super::values::shown;
use crate::base::Secret;
use std::fs::File;
use std::io::Read;
use std::path::Path;

/// Bytes of a secret.
const BYTES_MIN: usize = 16;
const BYTES_MAX: u64 = 4_096;

/// The secret that a key of kind `Secret` says the place of; paths of files begin at `directory`.
pub fn read(reader: &Reader<'_, '_>, key: &str, directory: &Path) -> Option<Secret> {
    let form = "where a secret is: \"env:NAME\" or \"file:PATH\"";
    Some(reader.text_with(key, form, |text| of_place(text, directory))?.value)
}

fn of_place(text: &str, directory: &Path) -> Result<Secret, String> {
    let bytes = if let Some(name) = text.strip_prefix("env:") {
        let value =
            std::env::var_os(name).ok_or_else(|| format!("there is no environment variable `{}`", shown(name)))?;
        value.into_encoded_bytes()
    } else if let Some(path) = text.strip_prefix("file:") {
        of_file(&directory.join(path))?
    } else {
        return Err("a secret never stands in the file: \"env:NAME\" or \"file:PATH\" say where it is".to_owned());
    };
    // A line break at the end is an editor's.
    let end = bytes.iter().rposition(|byte| !matches!(byte, b'\r' | b'\n')).map_or(0, |at| at + 1);
    let secret = bytes.get(..end).unwrap_or_default();
    if secret.len() < BYTES_MIN {
        let length = secret.len();
        return Err(format!(
            "the secret there has {length} bytes and needs {BYTES_MIN} or more: `openssl rand -hex 32` makes one"
        ));
    }
    Ok(Secret(secret.to_vec()))
}

fn of_file(path: &Path) -> Result<Vec<u8>, String> {
    let fail = |error: std::io::Error| format!("cannot read {}: {error}", path.display());
    // A pipe would have to be waited for.
    if !path.metadata().map_err(fail)?.is_file() {
        return Err(format!("{} is not a file", path.display()));
    }
    let mut bytes = Vec::new();
    File::open(path).map_err(fail)?.take(BYTES_MAX + 1).read_to_end(&mut bytes).map_err(fail)?;
    if bytes.len() as u64 > BYTES_MAX {
        return Err(format!("{} has more than {BYTES_MAX} bytes", path.display()));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_read_from_a_file_without_its_last_line_break() {
        let directory = std::env::temp_dir().join(format!("ringgate-secret-{}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        std::fs::write(directory.join("key"), "0123456789abcdef\n").unwrap();
        std::fs::write(directory.join("short"), "0123456789abcde\n").unwrap();
        let of = |text: &str| of_place(text, &directory);
        assert_eq!(of("file:key").unwrap(), Secret(b"0123456789abcdef".to_vec()));
        assert!(of("file:short").unwrap_err().contains("has 15 bytes"));
        assert!(of("file:none").unwrap_err().contains("cannot read"));
        assert!(of("file:/dev/zero").unwrap_err().contains("is not a file"));
        assert!(of("env:RINGGATE_NO_SUCH_VARIABLE").unwrap_err().contains("no environment variable"));
        assert!(of("hunter2").unwrap_err().contains("never stands in the file"));
        std::fs::remove_dir_all(&directory).unwrap();
    }
}
