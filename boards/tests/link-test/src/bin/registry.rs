//! The registry client: references, documents, the protocol, credentials.
#![no_std]
#![no_main]

extern crate alloc;

use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;
use link_test::{input, output};
use picolet_images::Reference;
use picolet_images::client::{Client, Endpoint, Step};
use picolet_images::documents::{ConfigDecoder, ManifestDecoder, Platform, Resolved};
use picolet_images::keyring::{Keyring, SecretKind};

fn some() -> Vec<u8> {
    let mut bytes = vec![0; usize::from(input())];
    bytes.fill_with(input);
    bytes
}

fn print(text: &str) {
    text.bytes().for_each(output);
}

fn rank(platform: &Platform) -> Option<u8> {
    (&*platform.os == "wasip1").then_some(0)
}

fn fetch(client: &mut Client, reference: &Reference, on: &mut dyn FnMut(&[u8])) -> Option<()> {
    loop {
        let mut head = String::new();
        let origin = client.request(&mut head);
        output(origin.tls.into());
        print(&origin.host);
        print(&head);
        loop {
            let received = some();
            if received.is_empty() {
                match client.closed() {
                    Ok(Step::Done { .. }) => return Some(()),
                    Ok(_) => break,
                    Err(error) => print(&client.describe_error(error, reference)),
                }
            }
            match client.take(&received) {
                Ok((_, Step::Piece(piece))) => on(piece),
                Ok((_, Step::Next { .. })) => break,
                Ok((_, Step::Done { .. })) => return Some(()),
                Ok((taken, Step::More)) => output(taken as u8),
                Err(error) => print(&client.describe_error(error, reference)),
            }
        }
    }
}

fn pull() -> Option<()> {
    let image = some();
    let image = core::str::from_utf8(&image).ok()?;
    let reference = match Reference::parse(image) {
        Ok(reference) => reference,
        Err(error) => {
            print(&error.inspect_failed(image));
            return None;
        }
    };
    let mut keyring = Keyring::new(&reference);
    keyring.read(SecretKind::DockerConfigJson).feed(&some()).ok()?;
    keyring.read(SecretKind::DockerCfg).feed(&some()).ok()?;
    let credentials = keyring.into_credentials().into_iter().next();
    let endpoint = match input() {
        0 => Endpoint::of(&reference)?,
        _ => Endpoint::mirror(core::str::from_utf8(&some()).ok()?, reference.domain())?,
    };
    let mut client = Client::new(endpoint, &reference, credentials);
    let name = reference.digest().or(reference.tag())?;
    client.fetch_manifest(picolet_http::Method::Get, name).ok()?;
    loop {
        let mut decoder = ManifestDecoder::new(rank);
        fetch(&mut client, &reference, &mut |piece| {
            output(decoder.feed(piece).is_ok().into())
        })?;
        match decoder.finish() {
            Ok(Resolved::Index(descriptor)) => client.fetch_described_manifest(&descriptor),
            Ok(Resolved::Manifest(manifest)) => {
                let mut decoder = ConfigDecoder::default();
                client.fetch_blob(&manifest.config);
                fetch(&mut client, &reference, &mut |piece| {
                    output(decoder.feed(piece).is_ok().into())
                })?;
                print(decoder.finish().ok()?.entrypoint.first()?);
                for layer in &manifest.layers {
                    client.fetch_blob(layer);
                    fetch(&mut client, &reference, &mut |piece| {
                        piece.iter().copied().for_each(output)
                    })?;
                }
                return Some(());
            }
            Err(error) => print(error.as_str()),
        }
    }
}

#[cortex_m_rt::entry]
fn main() -> ! {
    link_test::start();
    loop {
        pull();
    }
}
