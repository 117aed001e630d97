//! SDPCM: how control messages, events and frames share function 2 of the bus, and who may send when.
//!
//! A packet is a header of twelve bytes, as `struct sdpcm_header_t` of Infineon's wifi-host-driver lays it out, and a
//! body whose meaning its channel decides. The host numbers its packets; the chip tells with each of its own up to
//! which number it has room, and a host that has reached that number waits.

/// Bytes of the header.
pub(super) const HEADER: usize = 12;
/// Bytes of the header before an Ethernet frame or an event of the chip: two of padding put what follows where 32-bit
/// processors want it.
const PADDED_HEADER: usize = 14;
/// Bytes of the BDC header, and of the extension that the chip's firmware puts after it.
const BDC: usize = 4;
const BDC_EXTENSION: usize = 4;
/// Bytes of the CDC header of a control message.
const CDC: usize = 16;

/// What a packet carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Channel {
    Control = 0,
    Event = 1,
    Data = 2,
}

/// A packet of the host.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Packet<'a> {
    pub(super) sequence: u8,
    pub(super) body: Body<'a>,
}

/// What the host wants with a packet.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Body<'a> {
    Control(Control<'a>),
    /// An Ethernet frame.
    Data(&'a [u8]),
}

/// A control message: an ioctl of the wireless firmware.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Control<'a> {
    pub(super) command: u32,
    /// Sets; otherwise it asks.
    pub(super) set: bool,
    pub(super) interface: u8,
    /// Returned with the answer, by which the host knows it.
    pub(super) id: u16,
    pub(super) data: &'a [u8],
}

/// Why a packet of the host was not understood. The firmware of the chip drops such packets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PacketError {
    TooShort,
    LengthMismatch,
    HeaderLength,
    Glom,
    UnknownChannel(u8),
}

impl core::fmt::Display for PacketError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::TooShort => f.write_str("it ends before its headers do"),
            Self::LengthMismatch => f.write_str("its length and the complement of its length do not agree"),
            Self::HeaderLength => f.write_str("its header length points outside of it"),
            Self::Glom => {
                f.write_str("several packets glommed into one are not supported; set bus:txglom to 0")
            }
            Self::UnknownChannel(channel) => write!(f, "channel {channel} does not exist"),
        }
    }
}

impl core::error::Error for PacketError {}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_le_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

impl<'a> Packet<'a> {
    /// Reads what the host wrote to function 2.
    pub(super) fn parse(bytes: &'a [u8]) -> Result<Self, PacketError> {
        let (length, complement) = u16_at(bytes, 0)
            .zip(u16_at(bytes, 2))
            .ok_or(PacketError::TooShort)?;
        if length != !complement {
            return Err(PacketError::LengthMismatch);
        }
        let packet = bytes.get(..usize::from(length)).ok_or(PacketError::TooShort)?;
        let header = packet.get(..HEADER).ok_or(PacketError::TooShort)?;
        let (sequence, channel, offset) = (header[4], header[5] & 0xf, usize::from(header[7]));
        if offset < HEADER {
            return Err(PacketError::HeaderLength);
        }
        let body = packet.get(offset..).ok_or(PacketError::HeaderLength)?;
        let body = match channel {
            0 => Body::Control(Control::parse(body).ok_or(PacketError::TooShort)?),
            2 => {
                let extension = 4 * usize::from(*body.get(3).ok_or(PacketError::TooShort)?);
                Body::Data(body.get(BDC + extension..).ok_or(PacketError::TooShort)?)
            }
            3 => return Err(PacketError::Glom),
            channel => return Err(PacketError::UnknownChannel(channel)),
        };
        Ok(Self { sequence, body })
    }
}

impl<'a> Control<'a> {
    fn parse(body: &'a [u8]) -> Option<Self> {
        let flags = u16_at(body, 8)?;
        // The lower half is the length of the answer that the host has room for, which is that of the data sent.
        let length = (u32_at(body, 4)? & 0xffff) as usize;
        let data = body.get(CDC..)?;
        Some(Self {
            command: u32_at(body, 0)?,
            set: flags & 2 != 0,
            interface: u8::try_from(flags >> 12).unwrap_or(0),
            id: u16_at(body, 10)?,
            data: &data[..length.min(data.len())],
        })
    }

    /// The body of the answer to this message.
    pub(super) fn answer(&self, status: i32, data: &[u8]) -> Vec<u8> {
        let flags = u16::from(self.set) << 1 | u16::from(self.interface) << 12 | u16::from(status != 0);
        let mut body = Vec::with_capacity(CDC + data.len());
        body.extend(self.command.to_le_bytes());
        body.extend(u32::try_from(data.len()).unwrap_or(0).to_le_bytes());
        body.extend(flags.to_le_bytes());
        body.extend(self.id.to_le_bytes());
        body.extend(status.to_le_bytes());
        body.extend(data);
        body
    }
}

/// The chip's end: numbers its packets and hands out credit.
#[derive(Debug, Clone, Default)]
pub(super) struct Endpoint {
    sequence: u8,
    /// The number of the host's last packet; `None` before the first.
    received: Option<u8>,
    /// The credit that the host was told of last.
    told: u8,
}

/// How many packets of the host the chip has room for.
pub(super) const BUFFERS: u8 = 16;

impl Endpoint {
    pub(super) fn received(&mut self, sequence: u8) {
        self.received = Some(sequence);
    }

    /// The number that the host must not reach, `busy` of the buffers being full.
    fn credit(&self, busy: usize) -> u8 {
        let next = self.received.map_or(0, |sequence| sequence.wrapping_add(1));
        let free = usize::from(BUFFERS).saturating_sub(busy);
        next.wrapping_add(u8::try_from(free).unwrap_or(0))
    }

    /// Whether the host may have stopped for want of credit that is there again.
    pub(super) fn owes_credit(&self, busy: usize) -> bool {
        self.received
            .is_some_and(|sequence| sequence.wrapping_add(1) == self.told)
            && self.credit(busy) != self.told
    }

    fn emit(&mut self, channel: Channel, header: usize, parts: [&[u8]; 2], busy: usize) -> Vec<u8> {
        let length = header + parts[0].len() + parts[1].len();
        let length = u16::try_from(length).unwrap_or(u16::MAX);
        self.told = self.credit(busy);
        let mut packet = Vec::with_capacity(usize::from(length));
        packet.extend(length.to_le_bytes());
        packet.extend((!length).to_le_bytes());
        packet.push(self.sequence);
        packet.push(channel as u8);
        packet.push(0); // length of the next packet: not told
        packet.push(u8::try_from(header).unwrap_or(0));
        packet.push(0); // no flow control beside the credit
        packet.push(self.told);
        packet.resize(header, 0);
        packet.extend(parts[0]);
        packet.extend(parts[1]);
        self.sequence = self.sequence.wrapping_add(1);
        packet
    }

    /// The answer to a control message.
    pub(super) fn control(&mut self, body: &[u8], busy: usize) -> Vec<u8> {
        self.emit(Channel::Control, HEADER, [body, &[]], busy)
    }

    /// An event or an Ethernet frame.
    pub(super) fn frame(&mut self, channel: Channel, frame: &[u8], busy: usize) -> Vec<u8> {
        // Version 2 of the protocol, and one word of extension.
        const HEADERS: [u8; BDC + BDC_EXTENSION] = [0x20, 0, 0, 1, 0, 0, 0, 0];
        self.emit(channel, PADDED_HEADER, [&HEADERS, frame], busy)
    }

    /// A header alone, which only carries credit.
    pub(super) fn credit_update(&mut self, busy: usize) -> Vec<u8> {
        self.emit(Channel::Control, HEADER, [&[], &[]], busy)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// An ioctl as embassy's driver writes it: number 0, `WLC_UP`, id 12.
    const UP: [u8; 28] = [
        0x1c, 0, 0xe3, 0xff, 11, 0, 0, 12, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 2, 0, 12, 0, 0, 0, 0, 0,
    ];

    #[test]
    fn reads_a_control_message() {
        let packet = Packet::parse(&UP).expect("a packet");
        assert_eq!(packet.sequence, 11);
        let Body::Control(control) = packet.body else {
            panic!("not control")
        };
        assert_eq!(
            (control.command, control.set, control.id, control.data),
            (2, true, 12, &[][..])
        );
    }

    #[test]
    fn answers_as_the_chip_does() {
        let Ok(Packet {
            body: Body::Control(control),
            ..
        }) = Packet::parse(&UP)
        else {
            panic!()
        };
        let mut endpoint = Endpoint {
            sequence: 11,
            received: Some(11),
            told: 0,
        };
        let answer = endpoint.control(&control.answer(0, &[]), 0);
        let mut expected = UP;
        expected[9] = 12 + BUFFERS;
        assert_eq!(answer, expected);
    }

    #[test]
    fn reads_a_frame_behind_its_padding() {
        let mut bytes = vec![0; 14 + 4 + 3];
        bytes[0] = 21;
        bytes[2] = !21;
        bytes[3] = 0xff;
        bytes[5] = 2;
        bytes[7] = 14;
        bytes[18..].copy_from_slice(&[1, 2, 3]);
        assert_eq!(
            Packet::parse(&bytes).map(|packet| packet.body),
            Ok(Body::Data(&[1, 2, 3]))
        );
        bytes[5] = 3;
        assert_eq!(Packet::parse(&bytes), Err(PacketError::Glom));
        bytes[7] = 5;
        assert_eq!(Packet::parse(&bytes), Err(PacketError::HeaderLength));
        bytes[2] = 0;
        assert_eq!(Packet::parse(&bytes), Err(PacketError::LengthMismatch));
    }

    #[test]
    fn frames_lie_where_drivers_expect_them() {
        // The Ethernet header at an offset of 2 modulo 4, so that the IP header is aligned; 1514 bytes fit in the
        // 1536 that drivers take.
        let packet = Endpoint::default().frame(Channel::Data, &[7; 1514], 0);
        let start = usize::from(packet[7]) + BDC + 4 * usize::from(packet[usize::from(packet[7]) + 3]);
        assert_eq!(start % 4, 2);
        assert_eq!(packet[start..], [7; 1514]);
        assert_eq!(packet.len(), 1536);
    }

    #[test]
    fn credit_counts_the_buffers_that_are_free() {
        let mut endpoint = Endpoint::default();
        endpoint.received(250);
        assert_eq!(endpoint.credit(0), 251u8.wrapping_add(BUFFERS));
        assert_eq!(endpoint.credit(usize::from(BUFFERS)), 251);
        assert_eq!(endpoint.credit(1000), 251);
        endpoint.control(&[], usize::from(BUFFERS));
        assert!(!endpoint.owes_credit(usize::from(BUFFERS)));
        assert!(endpoint.owes_credit(3));
        assert_eq!(endpoint.credit_update(3)[9], 251u8.wrapping_add(BUFFERS - 3));
        assert!(!endpoint.owes_credit(3));
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_packet_or_an_error(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
            let _ = Packet::parse(&bytes);
        }

        #[test]
        fn any_body_is_read(mut bytes in proptest::collection::vec(any::<u8>(), 12..200)) {
            let length = u16::try_from(bytes.len()).unwrap_or(0);
            bytes[..2].copy_from_slice(&length.to_le_bytes());
            bytes[2..4].copy_from_slice(&(!length).to_le_bytes());
            bytes[7] %= 32;
            let _ = Packet::parse(&bytes);
        }
    }
}
