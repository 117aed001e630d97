//! `picolet firmware` as the built program, with keys and signatures of the real `openssl`.

use picolet_boot::Slot;
use picolet_firmware::{Formats, Header, SignatureBlock, Text, Variant, assemble, check_file};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use tempfile::TempDir;

struct Folder(TempDir);

impl Folder {
    /// A folder with an unsigned firmware file, `new.pfw`.
    fn new() -> Self {
        let folder = Self(tempfile::tempdir().expect("a folder"));
        let images = [vec![0xa5; 512], vec![0x5a; 768]];
        let header = Header {
            security: 7,
            board: Text::new("pico-w").expect("a text"),
            version: Text::new("0.2.0").expect("a text"),
            commit: [0xab; 20],
            settings: Formats { oldest: 1, newest: 1 },
            records: Formats { oldest: 1, newest: 2 },
            radio: [0; 4],
            variants: [
                Variant::of(0x1000_6000, &images[0]),
                Variant::of(0x100d_2000, &images[1]),
            ],
        };
        let file = assemble(&header, &SignatureBlock::Blank, [&images[0], &images[1]]);
        fs::write(folder.path("new.pfw"), file).expect("a file");
        folder
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn read(&self, name: &str) -> Vec<u8> {
        fs::read(self.path(name)).expect("a file")
    }

    fn run(&self, program: &Path, arguments: &str) -> Output {
        Command::new(program)
            .current_dir(self.0.path())
            .args(arguments.split_whitespace())
            .output()
            .expect("the program")
    }

    /// Runs `picolet firmware`, which must succeed, and returns what it prints.
    fn picolet(&self, arguments: &str) -> String {
        let program = Path::new(env!("CARGO_BIN_EXE_picolet"));
        let output = self.run(program, &format!("firmware {arguments}"));
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{arguments}: {error}");
        String::from_utf8(output.stdout).expect("text")
    }

    /// Runs `picolet firmware`, which must fail, and returns its error.
    fn refused(&self, arguments: &str) -> String {
        let program = Path::new(env!("CARGO_BIN_EXE_picolet"));
        let output = self.run(program, &format!("firmware {arguments}"));
        assert_eq!(output.status.code(), Some(1), "{arguments}");
        let error = String::from_utf8(output.stderr).expect("text");
        error.trim_end().to_owned()
    }

    /// Runs `openssl`, which must succeed.
    fn openssl(&self, program: &Path, arguments: &str) {
        let output = self.run(program, arguments);
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "openssl {arguments}: {error}");
    }
}

fn openssl() -> Option<PathBuf> {
    picolet_oracle::find("openssl", "openssl")
}

#[test]
fn file_is_signed_and_verified_with_a_new_key() {
    let folder = Folder::new();
    let unsigned = folder.read("new.pfw");
    let printed = folder.picolet("keygen --output firmware.key");
    assert!(
        printed.starts_with("private key firmware.key, public key firmware.key.pub, key ID "),
        "{printed}"
    );
    let id = printed.trim_end().rsplit(' ').next().expect("the ID");
    assert_eq!(id.len(), 16);
    let mode = |name: &str| {
        fs::metadata(folder.path(name))
            .expect("a file")
            .permissions()
            .mode()
            & 0o777
    };
    assert_eq!(mode("firmware.key"), 0o600);
    assert_eq!(
        folder.refused("verify new.pfw --key firmware.key.pub"),
        "error: new.pfw: firmware is not signed"
    );
    let printed = folder.picolet("sign new.pfw --key firmware.key --output signed.pfw");
    assert_eq!(printed, format!("signed by key {id}\n"));
    assert_eq!(folder.read("new.pfw"), unsigned);
    assert_eq!(
        folder.picolet("verify signed.pfw --key firmware.key.pub"),
        format!("signed.pfw 0.2.0 for pico-w, signed by key {id}\n")
    );
    // In place, and again.
    folder.picolet("sign new.pfw --key firmware.key");
    assert_eq!(folder.read("new.pfw"), folder.read("signed.pfw"));
    folder.picolet("keygen --output other.key");
    folder.picolet("sign new.pfw --key other.key");
    let error = folder.refused("verify new.pfw --key firmware.key.pub");
    assert!(error.ends_with("which is none of --key"), "{error}");
    folder.picolet("verify new.pfw --key firmware.key.pub --key other.key.pub");
    // A key is never replaced.
    let key = folder.read("firmware.key");
    let error = folder.refused("keygen --output firmware.key");
    assert_eq!(error, "error: firmware.key.pub exists");
    fs::remove_file(folder.path("firmware.key.pub")).expect("a file");
    let error = folder.refused("keygen --output firmware.key");
    assert!(error.starts_with("error: cannot create firmware.key"), "{error}");
    assert_eq!(folder.read("firmware.key"), key);
}

#[test]
fn openssl_signs_what_header_writes() {
    let Some(openssl) = openssl() else { return };
    let folder = Folder::new();
    folder.openssl(&openssl, "ecparam -name prime256v1 -genkey -noout -out sec1.key");
    folder.openssl(&openssl, "pkey -in sec1.key -pubout -out key.pub");
    folder.picolet("header new.pfw --output header.bin");
    assert_eq!(folder.read("header.bin"), folder.read("new.pfw")[..256]);
    folder.openssl(&openssl, "dgst -sha256 -sign sec1.key -out header.sig header.bin");
    folder.picolet("attach new.pfw --signature header.sig --key key.pub --output der.pfw");
    folder.picolet("verify der.pfw --key key.pub");
    // The signature as base64, and as cosign's bundles have it.
    folder.openssl(&openssl, "base64 -A -in header.sig -out header.b64");
    folder.picolet("attach new.pfw --signature header.b64 --key key.pub --output base64.pfw");
    assert_eq!(folder.read("base64.pfw"), folder.read("der.pfw"));
    let encoded = String::from_utf8(folder.read("header.b64")).expect("text");
    let bundle = serde_json::json!({
        "mediaType": "application/vnd.dev.sigstore.bundle.v0.3+json",
        "messageSignature": {"messageDigest": {"algorithm": "SHA2_256"}, "signature": encoded.trim()},
    });
    fs::write(folder.path("bundle"), bundle.to_string()).expect("a file");
    folder.picolet("attach new.pfw --signature bundle --key key.pub --output bundle.pfw");
    assert_eq!(folder.read("bundle.pfw"), folder.read("der.pfw"));
    // What is not a signature of this header is not attached.
    let unsigned = folder.read("new.pfw");
    folder.openssl(&openssl, "dgst -sha256 -sign sec1.key -out other.sig header.sig");
    let error = folder.refused("attach new.pfw --signature other.sig --key key.pub");
    assert!(
        error.ends_with("sign what `picolet firmware header` writes, with SHA-256"),
        "{error}"
    );
    folder.picolet("keygen --output mine");
    folder.refused("attach new.pfw --signature header.sig --key mine.pub");
    fs::write(folder.path("empty"), "{}").expect("a file");
    let error = folder.refused("attach new.pfw --signature empty --key key.pub");
    assert!(error.contains("the bundle has no signature of a blob"), "{error}");
    folder.refused("attach new.pfw --signature header.bin --key key.pub");
    assert_eq!(folder.read("new.pfw"), unsigned);
}

#[test]
fn keys_of_openssl_sign() {
    let Some(openssl) = openssl() else { return };
    let folder = Folder::new();
    // With the block of curve parameters before the key, as `ecparam` writes it.
    folder.openssl(&openssl, "ecparam -name prime256v1 -genkey -out sec1.key");
    folder.openssl(&openssl, "pkcs8 -topk8 -nocrypt -in sec1.key -out pkcs8.key");
    folder.openssl(
        &openssl,
        "pkcs8 -topk8 -nocrypt -in sec1.key -outform DER -out pkcs8.der",
    );
    folder.openssl(&openssl, "ec -in sec1.key -outform DER -out sec1.der");
    folder.openssl(&openssl, "pkey -in sec1.key -pubout -out key.pub");
    folder.openssl(&openssl, "pkey -in sec1.key -pubout -outform DER -out pub.der");
    for key in ["sec1.key", "pkcs8.key", "pkcs8.der", "sec1.der"] {
        folder.picolet(&format!("sign new.pfw --key {key} --output {key}.pfw"));
        folder.picolet(&format!("verify {key}.pfw --key key.pub"));
        folder.picolet(&format!("verify {key}.pfw --key pub.der"));
    }
    // openssl verifies what we sign: the block has r and s, which openssl wants as DER.
    let file = folder.read("sec1.key.pfw");
    let SignatureBlock::Signed { signature, .. } = check_file(&file).expect("a file").signature else {
        panic!("it is signed");
    };
    let signature = picolet_ec::p256::Signature::from_bytes(&signature).expect("a signature");
    fs::write(folder.path("ours.sig"), signature.to_der().as_bytes()).expect("a file");
    folder.picolet("header sec1.key.pfw --output header.bin");
    folder.openssl(
        &openssl,
        "dgst -sha256 -verify key.pub -signature ours.sig header.bin",
    );
    // And reads our keys.
    folder.picolet("keygen --output ours");
    folder.openssl(&openssl, "pkey -in ours -noout -check");
    folder.openssl(&openssl, "pkey -in ours -pubout -out same.pub");
    assert_eq!(folder.read("same.pub"), folder.read("ours.pub"));
    // Other keys are refused with a remedy.
    folder.openssl(
        &openssl,
        "pkcs8 -topk8 -in sec1.key -passout pass:secret -out encrypted.key",
    );
    let error = folder.refused("sign new.pfw --key encrypted.key");
    assert!(
        error.ends_with("sign with the program that made it, and attach the signature"),
        "{error}"
    );
    folder.openssl(&openssl, "ecparam -name secp384r1 -genkey -noout -out p384.key");
    assert!(folder.refused("sign new.pfw --key p384.key").contains("P-256"));
    let error = folder.refused("verify sec1.key.pfw --key sec1.key");
    assert!(error.contains("openssl pkey -in KEY -pubout"), "{error}");
}

#[test]
fn inspect_shows_what_is_in_a_file() {
    let folder = Folder::new();
    let printed = folder.picolet("inspect new.pfw");
    for line in [
        "Board:                pico-w",
        "Version:              0.2.0",
        "Commit:               abababababababababababababababababababab",
        "Security number:      7",
        "Settings:             format 1",
        "Device records:       formats 1 to 2",
        "Radio firmware:       any",
        "Signature:            none",
    ] {
        assert!(
            printed.lines().any(|printed| printed == line),
            "{line} in {printed}"
        );
    }
    assert!(
        printed.contains("Slot B:               768 bytes for 0x100d2000, sha256:"),
        "{printed}"
    );
    let json: serde_json::Value =
        serde_json::from_str(&folder.picolet("inspect new.pfw --json")).expect("JSON");
    assert_eq!(json["signedBy"], serde_json::Value::Null);
    assert_eq!(json["slots"]["a"]["length"], 512);
    assert_eq!(json["version"], "0.2.0");
    folder.picolet("keygen --output key");
    folder.picolet("sign new.pfw --key key");
    let json: serde_json::Value =
        serde_json::from_str(&folder.picolet("inspect new.pfw --json")).expect("JSON");
    assert_eq!(json["signedBy"].as_str().map(str::len), Some(16));
}

#[test]
fn damaged_file_is_refused_by_every_command() {
    let folder = Folder::new();
    folder.picolet("keygen --output key");
    let header = check_file(&folder.read("new.pfw")).expect("a file").header;
    let in_b = usize::try_from(header.variant_offset(Slot::B)).expect("small") + 5;
    let mut damaged = folder.read("new.pfw");
    damaged[in_b] ^= 1;
    fs::write(folder.path("damaged.pfw"), &damaged).expect("a file");
    fs::write(folder.path("short.pfw"), &damaged[..in_b]).expect("a file");
    fs::write(folder.path("other.pfw"), b"hello").expect("a file");
    for (name, words) in [
        ("damaged.pfw", "firmware file is damaged: transfer it again"),
        ("short.pfw", "firmware file is damaged: transfer it again"),
        ("other.pfw", "not a firmware file"),
    ] {
        for command in [
            format!("inspect {name}"),
            format!("verify {name} --key key.pub"),
            format!("sign {name} --key key"),
            format!("header {name} --output header.bin"),
        ] {
            assert_eq!(folder.refused(&command), format!("error: {name}: {words}"));
        }
    }
    assert!(!folder.path("header.bin").exists());
    let error = folder.refused("inspect missing.pfw");
    assert!(error.starts_with("error: missing.pfw: "), "{error}");
}

/// The firmware keys in settings that `picolet provision` makes with these options; or what it says.
fn provision(folder: &Folder, options: &str) -> Result<Vec<Vec<u8>>, String> {
    fs::write(folder.path("wifi"), "correct horse battery").expect("a file");
    let program = Path::new(env!("CARGO_BIN_EXE_picolet"));
    let output = folder.run(
        program,
        &format!(
            "provision --board pico-w --ssid attic --passphrase-file wifi --lab-mode --server http://10.0.0.1:8080 \
             --node-name pico-1 -o settings.uf2 {options}"
        ),
    );
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).trim_end().to_owned());
    }
    let file = folder.read("settings.uf2");
    // Blocks of 512 bytes, each with 256 of the region.
    let region: Vec<u8> = file
        .chunks(512)
        .flat_map(|block| block[32..288].to_vec())
        .collect();
    let settings = picolet_store::settings::Settings::read(&region).expect("settings");
    Ok(settings.firmware_keys().map(<[u8]>::to_vec).collect())
}

#[test]
fn board_trusts_the_keys_that_it_is_provisioned_with() {
    let folder = Folder::new();
    assert_eq!(provision(&folder, ""), Ok(Vec::new()));
    folder.picolet("keygen --output ours.key");
    let Some(openssl) = openssl() else { return };
    folder.openssl(&openssl, "ecparam -name prime256v1 -genkey -noout -out other.key");
    folder.openssl(&openssl, "ec -in other.key -pubout -out other.pub");
    folder.openssl(&openssl, "ec -in other.key -pubout -outform DER -out other.der");
    folder.openssl(&openssl, "ecparam -name secp384r1 -genkey -noout -out p384.key");
    folder.openssl(&openssl, "ec -in p384.key -pubout -out p384.pub");
    let keys = provision(&folder, "--firmware-key ours.key.pub --firmware-key other.pub").expect("two keys");
    assert_eq!(keys.len(), 2);
    assert_eq!(keys[1], folder.read("other.der"));
    let from_der = provision(&folder, "--firmware-key other.der").expect("one key");
    assert_eq!(from_der[0], keys[1]);
    for (file, words) in [
        ("p384.pub", "--firmware-key p384.pub"),
        ("ours.key", "--firmware-key ours.key: no public key"),
        ("wifi", "--firmware-key wifi: no public key"),
        ("missing", "--firmware-key missing"),
    ] {
        let said = provision(&folder, &format!("--firmware-key {file}")).expect_err(file);
        assert!(said.contains(words), "{said}");
    }
    let five = "--firmware-key other.pub ".repeat(5);
    let said = provision(&folder, &five).expect_err("five keys");
    assert!(said.contains("--firmware-key: give it less often"), "{said}");
}
