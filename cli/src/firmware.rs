//! `picolet firmware`: keys, signatures and contents of firmware files. The format is in `docs/firmware-format.md`.
//!
//! Nothing here talks to a board. Private keys are read where they are used and never printed; encrypted ones are for the program
//! that made them, whose signature `attach` takes.

pub(crate) mod keys;

use anyhow::{Context, Result, bail, ensure};
use clap::{Args, Subcommand};
use picolet_boot::Slot;
use picolet_ec::p256::Signature;
use picolet_firmware::{
    Formats, HEADER, KeyId, Refusal, SignatureBlock, SignedHeader, TrustedKey, check_file,
};
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

/// The most bytes of a firmware file: both boards together have less flash.
const LARGEST: u64 = 16 << 20;

/// Sign, verify and inspect firmware files.
#[derive(Args)]
#[command(after_long_help = EXAMPLES)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

const EXAMPLES: &str = "\
Examples:
  Make a key and sign with it:
    picolet firmware keygen --output firmware.key
    picolet firmware sign picolet-pico-w-0.2.0.pfw --key firmware.key
    picolet firmware verify picolet-pico-w-0.2.0.pfw --key firmware.key.pub
  Sign with openssl:
    picolet firmware header picolet-pico-w-0.2.0.pfw --output header.bin
    openssl dgst -sha256 -sign key.pem -out header.sig header.bin
    picolet firmware attach picolet-pico-w-0.2.0.pfw --signature header.sig --key key.pub
  Sign with cosign:
    picolet firmware header picolet-pico-w-0.2.0.pfw --output header.bin
    cosign sign-blob --key cosign.key --bundle header.bundle header.bin
    picolet firmware attach picolet-pico-w-0.2.0.pfw --signature header.bundle --key cosign.pub";

#[derive(Subcommand)]
enum Command {
    /// Create a key pair to sign firmware with (P-256).
    Keygen {
        /// Private key to write: PKCS #8, PEM, readable by you alone. The public key is written to FILE.pub.
        #[arg(short, long, value_name = "FILE")]
        output: PathBuf,
    },
    /// Write the bytes to sign with another program: ECDSA, P-256, SHA-256.
    Header {
        /// Firmware file.
        file: PathBuf,
        /// File to write the 256 bytes to.
        #[arg(short, long, value_name = "FILE")]
        output: PathBuf,
    },
    /// Sign a firmware file with a private key. Replaces its signature.
    Sign {
        /// Firmware file.
        file: PathBuf,
        /// Private key: PKCS #8 or SEC 1, PEM or DER, not encrypted.
        #[arg(long, value_name = "FILE")]
        key: PathBuf,
        /// File to write. [default: the firmware file itself]
        #[arg(short, long, value_name = "FILE")]
        output: Option<PathBuf>,
    },
    /// Attach a signature that another program made. Replaces the signature of the file.
    Attach {
        /// Firmware file.
        file: PathBuf,
        /// Signature of what `header` writes: DER, base64 of DER, or a sigstore bundle.
        #[arg(long, value_name = "FILE")]
        signature: PathBuf,
        /// Public key to verify it with, PEM or DER.
        #[arg(long, value_name = "FILE")]
        key: PathBuf,
        /// File to write. [default: the firmware file itself]
        #[arg(short, long, value_name = "FILE")]
        output: Option<PathBuf>,
    },
    /// Verify the signature and both images of a firmware file.
    Verify {
        /// Firmware file.
        file: PathBuf,
        /// Public key to trust, PEM or DER. May repeat.
        #[arg(long, value_name = "FILE", required = true)]
        key: Vec<PathBuf>,
    },
    /// Show what is in a firmware file. Verifies the digests of both images, not the signature.
    Inspect {
        /// Firmware file.
        file: PathBuf,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    match &arguments.command {
        Command::Keygen { output } => keys::generate(output),
        Command::Header { file, output } => {
            let (bytes, _) = read(file)?;
            write(output, &bytes[..HEADER])
        }
        Command::Sign { file, key, output } => {
            let secret = keys::read_private(key)?;
            attach(file, output.as_deref(), &secret.public_key(), |header| {
                Ok(SignatureBlock::sign(header, &secret))
            })
        }
        Command::Attach {
            file,
            signature,
            key,
            output,
        } => {
            let public = keys::read_public("--key", key)?;
            let place = || format!("--signature {}", signature.display());
            let bytes = picolet_linux::files::read(signature).with_context(place)?;
            let signature = parse_signature(&bytes).with_context(place)?;
            attach(file, output.as_deref(), &public, |_| {
                Ok(SignatureBlock::Signed {
                    key: KeyId::of(&public),
                    signature: signature.to_bytes(),
                })
            })
        }
        Command::Verify { file, key } => verify(file, key),
        Command::Inspect { file, json } => {
            let (_, signed) = read(file)?;
            if *json {
                println!("{:#}", inspect_json(&signed));
            } else {
                print!("{}", inspect_text(&signed));
            }
            Ok(())
        }
    }
}

/// Reads a firmware file and checks its form and its digests.
pub(crate) fn read(path: &Path) -> Result<(Vec<u8>, SignedHeader)> {
    let read = || {
        let mut bytes = Vec::new();
        let file = File::open(path)?;
        file.take(LARGEST + 1).read_to_end(&mut bytes)?;
        ensure!(bytes.len() as u64 <= LARGEST, "larger than {LARGEST} bytes");
        let signed = check_file(&bytes)?;
        Ok((bytes, signed))
    };
    read().with_context(|| path.display().to_string())
}

/// Writes a file in one step: whoever reads it finds the old content or the new one.
fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    let mut unfinished = path.as_os_str().to_owned();
    unfinished.push(".new");
    let result = fs::write(&unfinished, bytes).and_then(|()| fs::rename(&unfinished, path));
    if result.is_err() {
        // It may not exist.
        let _ = fs::remove_file(&unfinished);
    }
    result.with_context(|| format!("cannot write {}", path.display()))
}

/// Puts a signature into a file, after it was verified.
fn attach(
    file: &Path,
    output: Option<&Path>,
    key: &picolet_ec::p256::PublicKey,
    sign: impl FnOnce(&[u8; HEADER]) -> Result<SignatureBlock>,
) -> Result<()> {
    let (mut bytes, _) = read(file)?;
    let header = bytes.first_chunk::<HEADER>().context("no header")?;
    let block = sign(header)?;
    bytes[HEADER..2 * HEADER].copy_from_slice(&block.to_bytes());
    let signed = check_file(&bytes)?;
    match signed.verify(&[TrustedKey::new(*key)]) {
        Ok(id) => {
            write(output.unwrap_or(file), &bytes)?;
            println!("signed by key {id}");
            Ok(())
        }
        Err(Refusal::WrongSignature(id)) => bail!(
            "the signature is not by key {id} over the header of {}: sign what `picolet firmware header` writes, with SHA-256",
            file.display()
        ),
        Err(refusal) => Err(refusal.into()),
    }
}

/// A signature as DER, base64 of DER, or in a sigstore bundle.
fn parse_signature(bytes: &[u8]) -> Result<Signature> {
    if bytes.first() == Some(&0x30) {
        return Ok(Signature::from_der(bytes)?);
    }
    let text = str::from_utf8(bytes).context("neither DER nor base64 nor a sigstore bundle")?;
    let encoded = match serde_json::from_str::<Value>(text) {
        Ok(Value::Object(bundle)) => {
            let signature = bundle
                .get("messageSignature")
                .and_then(|message| message.get("signature"))
                // The bundles of cosign before version 3.
                .or_else(|| bundle.get("base64Signature"))
                .and_then(Value::as_str);
            signature
                .context("the bundle has no signature of a blob: make it with `cosign sign-blob --bundle`")?
                .to_owned()
        }
        _ => text.split_ascii_whitespace().collect(),
    };
    let engine = base64::engine::general_purpose::STANDARD;
    let der = base64::Engine::decode(&engine, encoded)
        .ok()
        .context("neither DER nor base64 nor a sigstore bundle")?;
    Ok(Signature::from_der(&der)?)
}

fn verify(file: &Path, keys: &[PathBuf]) -> Result<()> {
    let trusted = keys
        .iter()
        .map(|key| keys::read_public("--key", key).map(TrustedKey::new))
        .collect::<Result<Vec<_>>>()?;
    let (_, signed) = read(file)?;
    let id = match signed.verify(&trusted) {
        // The board's words name the board.
        Err(Refusal::UnknownKey(id)) => {
            bail!("{}: signed by key {id}, which is none of --key", file.display())
        }
        result => result.with_context(|| file.display().to_string())?,
    };
    let header = &signed.header;
    println!(
        "{} {} for {}, signed by key {id}",
        file.display(),
        header.version,
        header.board
    );
    Ok(())
}

fn hex(bytes: &[u8]) -> String {
    let mut text = String::new();
    for byte in bytes {
        // Writing to a String does not fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

fn inspect_text(signed: &SignedHeader) -> String {
    let header = &signed.header;
    let formats = |formats: Formats| match formats {
        Formats { oldest, newest } if oldest == newest => format!("format {oldest}"),
        Formats { oldest, newest } => format!("formats {oldest} to {newest}"),
    };
    let or = |bytes: &[u8], otherwise: &str| {
        if bytes.iter().all(|byte| *byte == 0) {
            otherwise.to_owned()
        } else {
            hex(bytes)
        }
    };
    let mut lines = vec![
        ("Board", header.board.to_string()),
        ("Version", header.version.to_string()),
        ("Commit", or(&header.commit, "unknown")),
        ("Security number", header.security.to_string()),
        ("Settings", formats(header.settings)),
        ("Device records", formats(header.records)),
        ("Radio firmware", or(&header.radio, "any")),
        ("Name in the boot log", hex(&header.name().to_bytes())),
    ];
    for (title, slot) in [("Slot A", Slot::A), ("Slot B", Slot::B)] {
        let variant = header.variant(slot);
        let digest = hex(&variant.digest);
        let (length, address) = (variant.length, variant.address);
        lines.push((
            title,
            format!("{length} bytes for {address:#010x}, sha256:{digest}"),
        ));
    }
    let signature = match signed.signature {
        SignatureBlock::Blank => "none".to_owned(),
        SignatureBlock::Signed { key, .. } => format!("by key {key}, not verified"),
    };
    lines.push(("Signature", signature));
    let mut text = String::new();
    for (title, value) in lines {
        // Writing to a String does not fail.
        let _ = writeln!(text, "{:<22}{value}", format!("{title}:"));
    }
    text
}

fn inspect_json(signed: &SignedHeader) -> Value {
    let header = &signed.header;
    let formats = |formats: Formats| json!({"oldest": formats.oldest, "newest": formats.newest});
    let slot = |slot| {
        let variant = header.variant(slot);
        json!({
            "address": variant.address,
            "length": variant.length,
            "digest": format!("sha256:{}", hex(&variant.digest)),
        })
    };
    json!({
        "board": header.board.as_str(),
        "version": header.version.as_str(),
        "commit": hex(&header.commit),
        "securityNumber": header.security,
        "settings": formats(header.settings),
        "records": formats(header.records),
        "radioFirmware": hex(&header.radio),
        "name": hex(&header.name().to_bytes()),
        "slots": {"a": slot(Slot::A), "b": slot(Slot::B)},
        "signedBy": match signed.signature {
            SignatureBlock::Blank => Value::Null,
            SignatureBlock::Signed { key, .. } => json!(key.to_string()),
        },
    })
}
