//! Events: what the wireless firmware tells the host unasked, in frames of Broadcom's own ethertype
//! (`bcmevent.h` of Infineon's wifi-host-driver; all fields are big-endian).

/// The kinds of event that the model sends, by their number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    SetSsid = 0,
    Join = 1,
    Auth = 3,
    Assoc = 7,
    Reassoc = 9,
    Deauth = 5,
    DeauthIndication = 6,
    Disassoc = 11,
    DisassocIndication = 12,
    Link = 16,
    Roam = 19,
    Prune = 23,
    BeaconLost = 31,
    PskSup = 46,
    EscanResult = 69,
    Bssid = 125,
}

/// Status codes that all kinds but PSK_SUP share.
pub(super) mod status {
    pub(in super::super) const SUCCESS: u32 = 0;
    pub(in super::super) const FAIL: u32 = 1;
    pub(in super::super) const NO_NETWORKS: u32 = 3;
    pub(in super::super) const PARTIAL: u32 = 8;
    pub(in super::super) const NEW_SCAN: u32 = 9;
}

/// An event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Event {
    pub(super) kind: Kind,
    pub(super) status: u32,
    pub(super) reason: u32,
    pub(super) flags: u16,
    pub(super) auth_type: u32,
    /// The access point that it is about.
    pub(super) address: [u8; 6],
    pub(super) data: Vec<u8>,
}

impl Event {
    pub(super) fn new(kind: Kind, status: u32, address: [u8; 6]) -> Self {
        Self {
            kind,
            status,
            reason: 0,
            flags: 0,
            auth_type: 0,
            address,
            data: Vec::new(),
        }
    }

    pub(super) fn reason(self, reason: u32) -> Self {
        Self { reason, ..self }
    }

    pub(super) fn flags(self, flags: u16) -> Self {
        Self { flags, ..self }
    }

    pub(super) fn auth_type(self, auth_type: u32) -> Self {
        Self { auth_type, ..self }
    }

    pub(super) fn data(self, data: Vec<u8>) -> Self {
        Self { data, ..self }
    }

    /// The frame that carries the event to the host whose address is `host`.
    pub(super) fn to_frame(&self, host: [u8; 6]) -> Vec<u8> {
        let mut frame = Vec::with_capacity(72 + self.data.len());
        frame.extend(host);
        frame.extend([host[0] | 2, host[1], host[2], host[3], host[4], host[5]]);
        frame.extend([0x88, 0x6c]);
        // Vendor subtype, length of what follows, version, Broadcom's OUI, "an event".
        let length = u16::try_from(2 + 48 + self.data.len()).unwrap_or(u16::MAX);
        frame.extend(0x8001u16.to_be_bytes());
        frame.extend(length.to_be_bytes());
        frame.extend([0, 0x00, 0x10, 0x18]);
        frame.extend(1u16.to_be_bytes());
        frame.extend(2u16.to_be_bytes());
        frame.extend(self.flags.to_be_bytes());
        let length = u32::try_from(self.data.len()).unwrap_or(0);
        for word in [self.kind as u32, self.status, self.reason, self.auth_type, length] {
            frame.extend(word.to_be_bytes());
        }
        frame.extend(self.address);
        let mut interface = [0; 16];
        interface[..5].copy_from_slice(b"wlan0");
        frame.extend(interface);
        frame.extend([0, 0]);
        frame.extend(&self.data);
        frame
    }
}

/// Which kinds of event the host wants to be told (iovar `bsscfg:event_msgs`). None, after reset.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Mask(Vec<u8>);

impl Mask {
    /// The mask in a bitmap of the host, whose length may be any.
    pub(super) fn from_bytes(bytes: &[u8]) -> Self {
        Self(bytes[..bytes.len().min(32)].to_vec())
    }

    pub(super) fn contains(&self, kind: Kind) -> bool {
        let number = kind as usize;
        self.0
            .get(number / 8)
            .is_some_and(|byte| byte >> (number % 8) & 1 != 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_laid_out_as_drivers_read_it() {
        let event = Event::new(Kind::Link, status::SUCCESS, [2, 0, 0, 0, 0, 1])
            .flags(1)
            .data(vec![9]);
        let frame = event.to_frame([0x28, 0xcd, 0xc1, 1, 2, 3]);
        assert_eq!(frame.len(), 14 + 10 + 48 + 1);
        assert_eq!(frame[12..14], [0x88, 0x6c]);
        assert_eq!(frame[14..24], [0x80, 1, 0, 51, 0, 0, 0x10, 0x18, 0, 1]);
        assert_eq!(frame[24..32], [0, 2, 0, 1, 0, 0, 0, 16]);
        assert_eq!(frame[44..48], [0, 0, 0, 1]);
        assert_eq!(frame[48..54], [2, 0, 0, 0, 0, 1]);
    }

    #[test]
    fn a_mask_names_events_by_bit() {
        let mask = Mask::from_bytes(&[1, 0, 1]);
        assert!(mask.contains(Kind::SetSsid));
        assert!(mask.contains(Kind::Link));
        assert!(!mask.contains(Kind::Auth));
        assert!(!mask.contains(Kind::EscanResult));
    }
}
