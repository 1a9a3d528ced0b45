//! `sluice keygen` and `sluice sign`: keys and signatures, on this machine alone.
//!
//! Owns the files that keys are in. Does not own what a signature is (`model`). Invariant: a
//! private key is written where only its owner reads it, never over another file, and is never printed.

use std::fs::{File, OpenOptions, Permissions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, anyhow};
use sha2::{Digest as _, Sha256};

use super::failure::Advised;
use super::output::Out;
use crate::model::{Digest, ModuleName, PrivateKey, SignatureValue, SignedModule, parse_version};

/// A PEM of a key has 119 bytes; whoever names a module by mistake is told so quickly.
const KEY_FILE_BYTES_MAX: u64 = 64 * 1024;

/// Read and written by its owner only.
const PRIVATE: u32 = 0o600;

/// Where to write a new key.
#[derive(Debug, clap::Args)]
pub(super) struct Keygen {
    /// The file for the private key; the public one goes to FILE.pub.
    #[arg(long, value_name = "FILE")]
    output: PathBuf,
}

/// What to sign, and as what.
#[derive(Debug, clap::Args)]
pub(super) struct Sign {
    /// The component.
    file: PathBuf,
    /// The private key: PKCS #8 PEM, of `sluice keygen` or `openssl genpkey -algorithm ed25519`.
    #[arg(long, value_name = "FILE")]
    key_file: PathBuf,
    /// The name that it will be uploaded under.
    #[arg(long)]
    name: ModuleName,
    /// The version that it will be uploaded as.
    #[arg(long, value_parser = parse_version)]
    version: semver::Version,
}

/// Makes a key pair.
pub(super) fn keygen(args: &Keygen, out: Out) -> anyhow::Result<()> {
    let mut seed = [0; 32];
    getrandom::fill(&mut seed).map_err(|error| anyhow!("the system gives no random bytes: {error}"))?;
    let key = PrivateKey::from_seed(&seed);
    let public_key = key.public_key();
    let mut public_file = args.output.clone().into_os_string();
    public_file.push(".pub");
    let public_file = PathBuf::from(public_file);
    // First what may be in the way: a private key without its public one is of little use.
    write_new(&public_file, public_key.to_pem()?.as_bytes(), 0o644)?;
    if let Err(error) = write_new(&args.output, key.to_pem()?.as_ref().as_bytes(), PRIVATE) {
        let _ = std::fs::remove_file(&public_file);
        return Err(error);
    }
    if out.is_json() {
        let answer = serde_json::json!({
            "private_key": args.output, "public_key_file": public_file, "public_key": public_key.to_string(),
        });
        return Ok(out.json(answer.to_string().as_bytes())?);
    }
    out.line(&public_key.to_string())?;
    out.note(&format!(
        "The private key is in {}: keep it as you keep secrets.\nFor the gateway's sluice.toml:\n\n\
         [[signatures.keys]]\nid = \"NAME\"\npublic_key = \"{public_key}\"",
        args.output.display(),
    ));
    Ok(())
}

/// Signs a component, and prints the signature.
pub(super) fn sign(args: &Sign, out: Out) -> anyhow::Result<()> {
    let signed = Signed::of(&args.file, &args.key_file, &args.name, &args.version)?;
    if out.is_json() {
        let answer = serde_json::json!({
            "name": args.name, "version": args.version, "sha256": signed.sha256, "signature": signed.value,
        });
        return Ok(out.json(answer.to_string().as_bytes())?);
    }
    Ok(out.line(&signed.value.to_string())?)
}

/// A component with a signature.
pub(super) struct Signed {
    /// Of the bytes that were signed.
    pub(super) sha256: Digest,
    /// The signature.
    pub(super) value: SignatureValue,
}

impl Signed {
    /// Signs the bytes of `file`.
    pub(super) fn of(
        file: &Path,
        key_file: &Path,
        name: &ModuleName,
        version: &semver::Version,
    ) -> anyhow::Result<Self> {
        let key = read_key(key_file)?;
        let sha256 = digest(file).with_context(|| format!("{} can't be read", file.display()))?;
        Ok(Self { sha256, value: key.sign(&SignedModule { name, version, sha256 }) })
    }
}

fn read_key(path: &Path) -> anyhow::Result<PrivateKey> {
    let unreadable = || format!("{} can't be read", path.display());
    let mut text = String::new();
    File::open(path)
        .and_then(|file| file.take(KEY_FILE_BYTES_MAX).read_to_string(&mut text))
        .with_context(unreadable)?;
    PrivateKey::from_pem(&text).map_err(|error| {
        let advice = format!("sluice keygen --output {}.new", path.display());
        Advised::new(format!("{} is no signing key: {error}; make one with", path.display()), advice).into()
    })
}

/// Read in pieces: a component need not fit into memory to be signed.
fn digest(path: &Path) -> io::Result<Digest> {
    struct Hashing(Sha256);
    impl io::Write for Hashing {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.update(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let mut hashing = Hashing(Sha256::new());
    io::copy(&mut File::open(path)?, &mut hashing)?;
    Ok(Digest::from_bytes(hashing.0.finalize().into()))
}

/// Writes a file that must not be there yet, with exactly this mode.
fn write_new(path: &Path, bytes: &[u8], mode: u32) -> anyhow::Result<()> {
    let unwritable = || format!("{} can't be written", path.display());
    let mut file = OpenOptions::new().write(true).create_new(true).mode(PRIVATE).open(path).with_context(unwritable)?;
    let written = file.write_all(bytes).and_then(|()| file.set_permissions(Permissions::from_mode(mode)));
    written.and_then(|()| file.sync_all()).with_context(unwritable)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::PublicKey;

    #[test]
    fn a_new_key_is_its_owners_alone_and_replaces_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let args = Keygen { output: folder.path().join("release.pem") };
        keygen(&args, Out::for_tests()).unwrap();
        let mode = std::fs::metadata(&args.output).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let before = std::fs::read(&args.output).unwrap();
        let public: PublicKey =
            std::fs::read_to_string(folder.path().join("release.pem.pub")).unwrap().parse().unwrap();
        assert_eq!(read_key(&args.output).unwrap().public_key(), public);

        keygen(&args, Out::for_tests()).unwrap_err();
        assert_eq!(std::fs::read(&args.output).unwrap(), before);
        std::fs::remove_file(folder.path().join("release.pem.pub")).unwrap();
        keygen(&args, Out::for_tests()).unwrap_err();
        assert_eq!(std::fs::read(&args.output).unwrap(), before);
        assert!(!folder.path().join("release.pem.pub").exists(), "the public half of another key");
    }

    #[test]
    fn what_is_signed_is_the_file_under_its_name_and_version() {
        let folder = tempfile::tempdir().unwrap();
        let (file, key_file) = (folder.path().join("a.wasm"), folder.path().join("key"));
        std::fs::write(&file, "bytes").unwrap();
        keygen(&Keygen { output: key_file.clone() }, Out::for_tests()).unwrap();
        let (name, version) = ("a".parse().unwrap(), semver::Version::new(1, 0, 0));
        let signed = Signed::of(&file, &key_file, &name, &version).unwrap();
        let key = read_key(&key_file).unwrap().public_key();
        let module = SignedModule { name: &name, version: &version, sha256: Digest::of(b"bytes") };
        assert!(key.verifies(&module, &signed.value));
        assert_eq!(signed.sha256, Digest::of(b"bytes"));
    }

    #[test]
    fn a_file_that_is_no_key_is_answered_with_how_to_make_one() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a.pem");
        std::fs::write(&file, "-----BEGIN CERTIFICATE-----").unwrap();
        let error = read_key(&file).unwrap_err();
        assert!(error.downcast_ref::<Advised>().unwrap().advice[0].contains("keygen"), "{error}");
        assert!(read_key(&folder.path().join("none")).unwrap_err().to_string().contains("can't be read"));
    }
}
