//! DHCP as a server (RFC 2131), on smoltcp's wire format: one address for each device that asks.

use std::net::Ipv4Addr;

use smoltcp::wire::{DhcpMessageType, DhcpPacket, DhcpRepr, EthernetAddress};

use super::addresses::{DEVICE, DNS, HOST};

pub(super) const SERVER_PORT: u16 = 67;
pub(super) const CLIENT_PORT: u16 = 68;

/// How long an address is lent, in seconds.
const LEASE: u32 = 86_400;
/// How many devices get an address.
const MOST: usize = 64;

/// Who has which address: the first device [`DEVICE`], each other one the next. A device that comes back gets its own.
#[derive(Debug, Default)]
pub(super) struct Leases(Vec<EthernetAddress>);

impl Leases {
    fn lend(&mut self, device: EthernetAddress) -> Option<Ipv4Addr> {
        let index = match self.0.iter().position(|known| *known == device) {
            Some(index) => index,
            None if self.0.len() < MOST => {
                self.0.push(device);
                self.0.len() - 1
            }
            None => return None,
        };
        Some(Ipv4Addr::from(u32::from(DEVICE) + u32::try_from(index).ok()?))
    }

    /// The answer to a message of a client, if there is one.
    pub(super) fn answer(&mut self, message: &[u8]) -> Option<Vec<u8>> {
        let packet = DhcpPacket::new_checked(message).ok()?;
        let request = DhcpRepr::parse(&packet).ok()?;
        if request.server_identifier.is_some_and(|server| server != HOST) {
            return None;
        }
        let address = self.lend(request.client_hardware_address)?;
        // The address that it means: what it asks for, or has.
        let meant = request.requested_ip.unwrap_or(request.client_ip);
        let message_type = match request.message_type {
            DhcpMessageType::Discover => DhcpMessageType::Offer,
            DhcpMessageType::Request if meant == address => DhcpMessageType::Ack,
            DhcpMessageType::Request => DhcpMessageType::Nak,
            DhcpMessageType::Inform => DhcpMessageType::Ack,
            _ => return None,
        };
        let granted = matches!(message_type, DhcpMessageType::Offer | DhcpMessageType::Ack);
        let lends = granted && request.message_type != DhcpMessageType::Inform;
        let reply = DhcpRepr {
            message_type,
            transaction_id: request.transaction_id,
            secs: 0,
            client_hardware_address: request.client_hardware_address,
            client_ip: if granted {
                request.client_ip
            } else {
                Ipv4Addr::UNSPECIFIED
            },
            your_ip: if lends { address } else { Ipv4Addr::UNSPECIFIED },
            server_ip: HOST,
            router: granted.then_some(HOST),
            subnet_mask: granted.then_some(Ipv4Addr::new(255, 255, 255, 0)),
            relay_agent_ip: request.relay_agent_ip,
            broadcast: request.broadcast,
            requested_ip: None,
            client_identifier: None,
            server_identifier: Some(HOST),
            parameter_request_list: None,
            dns_servers: granted.then(|| [DNS].into_iter().collect()),
            max_size: None,
            lease_duration: lends.then_some(LEASE),
            renew_duration: None,
            rebind_duration: None,
            additional_options: &[],
        };
        let mut bytes = vec![0; reply.buffer_len()];
        reply.emit(&mut DhcpPacket::new_unchecked(&mut bytes[..])).ok()?;
        Some(bytes)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn message(message_type: DhcpMessageType, device: u8, requested: Option<Ipv4Addr>) -> Vec<u8> {
        let request = DhcpRepr {
            message_type,
            transaction_id: 7,
            secs: 0,
            client_hardware_address: EthernetAddress([2, 0, 0, 0, 0, device]),
            client_ip: Ipv4Addr::UNSPECIFIED,
            your_ip: Ipv4Addr::UNSPECIFIED,
            server_ip: Ipv4Addr::UNSPECIFIED,
            router: None,
            subnet_mask: None,
            relay_agent_ip: Ipv4Addr::UNSPECIFIED,
            broadcast: true,
            requested_ip: requested,
            client_identifier: None,
            server_identifier: None,
            parameter_request_list: None,
            dns_servers: None,
            max_size: None,
            lease_duration: None,
            renew_duration: None,
            rebind_duration: None,
            additional_options: &[],
        };
        let mut bytes = vec![0; request.buffer_len()];
        request
            .emit(&mut DhcpPacket::new_unchecked(&mut bytes[..]))
            .expect("room");
        bytes
    }

    fn answer(leases: &mut Leases, message: &[u8]) -> Option<(DhcpMessageType, Ipv4Addr)> {
        let answer = leases.answer(message)?;
        let packet = DhcpPacket::new_checked(&answer[..]).expect("a packet");
        let reply = DhcpRepr::parse(&packet).expect("a reply");
        Some((reply.message_type, reply.your_ip))
    }

    #[test]
    fn each_device_gets_an_address_and_keeps_it() {
        let mut leases = Leases::default();
        let second = Ipv4Addr::new(10, 0, 2, 16);
        let discover = |device| message(DhcpMessageType::Discover, device, None);
        assert_eq!(
            answer(&mut leases, &discover(1)),
            Some((DhcpMessageType::Offer, DEVICE))
        );
        assert_eq!(
            answer(&mut leases, &discover(2)),
            Some((DhcpMessageType::Offer, second))
        );
        assert_eq!(
            answer(&mut leases, &discover(1)),
            Some((DhcpMessageType::Offer, DEVICE))
        );
        let request = message(DhcpMessageType::Request, 1, Some(DEVICE));
        assert_eq!(
            answer(&mut leases, &request),
            Some((DhcpMessageType::Ack, DEVICE))
        );
        let request = message(DhcpMessageType::Request, 1, Some(second));
        assert_eq!(
            answer(&mut leases, &request),
            Some((DhcpMessageType::Nak, Ipv4Addr::UNSPECIFIED))
        );
        assert_eq!(
            answer(&mut leases, &message(DhcpMessageType::Release, 1, None)),
            None
        );
    }

    proptest! {
        #[test]
        fn any_bytes_get_an_answer_or_none(
            mut bytes in proptest::collection::vec(any::<u8>(), 0..400),
            patch in proptest::collection::vec((0usize..400, any::<u8>()), 0..4),
        ) {
            let _ = Leases::default().answer(&bytes);
            bytes = message(DhcpMessageType::Request, 1, Some(DEVICE));
            for (at, value) in patch {
                let at = at % bytes.len();
                bytes[at] = value;
            }
            let _ = Leases::default().answer(&bytes);
        }
    }
}
