//! How many connections clients have, in all and from each address: a seat for each, given back when it is dropped.
//!
//! It knows no socket. Its memory is bounded by the seats: an address without one is not remembered.
use std::{
    collections::HashMap,
    collections::hash_map::Entry,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use crate::{config::settings::ConnectionLimits, state::address_group::AddressGroup};

/// The connections of a process.
#[derive(Debug)]
pub struct Connections {
    limits: ConnectionLimits,
    taken: AtomicUsize,
    /// Seats of each address that has one; empty where addresses have no limit.
    by_address: Mutex<HashMap<AddressGroup, usize>>,
}

/// Which limit a connection would break.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConnectionLimit {
    /// `limits.connections`.
    Total,
    /// `limits.connections_per_address`.
    PerAddress,
}

impl ConnectionLimit {
    /// Every limit.
    pub const ALL: [Self; 2] = [Self::Total, Self::PerAddress];

    /// The name of its key in `limits`, which is its label too.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Total => "connections",
            Self::PerAddress => "connections_per_address",
        }
    }
}

/// One connection's place, given back when dropped.
#[derive(Debug)]
pub struct Seat {
    connections: Arc<Connections>,
    address: Option<AddressGroup>,
}

impl Connections {
    /// No connections yet.
    pub fn new(limits: ConnectionLimits) -> Self {
        Self { limits, taken: AtomicUsize::new(0), by_address: Mutex::default() }
    }

    /// A seat for a connection from this address; from none for a unix socket, whose peers have no limit of their own.
    ///
    /// # Errors
    /// The limit that does not allow another.
    pub fn seat(self: &Arc<Self>, address: Option<AddressGroup>) -> Result<Seat, ConnectionLimit> {
        if self.taken.fetch_add(1, Ordering::Relaxed) >= self.limits.total {
            self.taken.fetch_sub(1, Ordering::Relaxed);
            return Err(ConnectionLimit::Total);
        }
        // From here on dropping the seat gives everything back that was taken.
        let mut seat = Seat { connections: Arc::clone(self), address: None };
        if let Some(address) = address {
            seat.give_to(address)?;
        }
        Ok(seat)
    }

    fn by_address(&self) -> MutexGuard<'_, HashMap<AddressGroup, usize>> {
        self.by_address.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Seat {
    /// From now on it counts for this address, and for no other.
    ///
    /// # Errors
    /// The address has as many as it may have; the seat counts for none then.
    pub fn give_to(&mut self, address: AddressGroup) -> Result<(), ConnectionLimit> {
        self.take_back();
        let Some(limit) = self.connections.limits.per_address else { return Ok(()) };
        let mut by_address = self.connections.by_address();
        let seats = by_address.entry(address).or_default();
        if *seats >= limit {
            return Err(ConnectionLimit::PerAddress);
        }
        *seats += 1;
        drop(by_address);
        self.address = Some(address);
        Ok(())
    }

    fn take_back(&mut self) {
        if let Some(address) = self.address.take()
            && let Entry::Occupied(mut seats) = self.connections.by_address().entry(address)
        {
            match seats.get().saturating_sub(1) {
                0 => drop(seats.remove()),
                left => *seats.get_mut() = left,
            }
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.take_back();
        self.connections.taken.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use proptest::prelude::*;

    use super::*;

    fn address(number: u8) -> AddressGroup {
        AddressGroup::of(IpAddr::V4(Ipv4Addr::new(192, 0, 2, number)))
    }

    fn connections(total: usize, per_address: Option<usize>) -> Arc<Connections> {
        Arc::new(Connections::new(ConnectionLimits { total, per_address }))
    }

    #[test]
    fn a_limit_is_reached_and_a_seat_that_is_given_back_can_be_taken_again() {
        let connections = connections(3, Some(2));
        let first = connections.seat(Some(address(1))).unwrap();
        let _second = connections.seat(Some(address(1))).unwrap();
        assert_eq!(connections.seat(Some(address(1))).unwrap_err(), ConnectionLimit::PerAddress);
        let _third = connections.seat(Some(address(2))).unwrap();
        assert_eq!(connections.seat(Some(address(3))).unwrap_err(), ConnectionLimit::Total);
        drop(first);
        assert!(connections.seat(Some(address(1))).is_ok());
    }

    #[test]
    fn peers_without_address_share_the_total_alone() {
        let connections = connections(3, Some(1));
        let seats: Vec<_> = (0..3).map(|_| connections.seat(None)).collect();
        assert!(seats.iter().all(Result::is_ok));
        assert_eq!(connections.seat(None).unwrap_err(), ConnectionLimit::Total);
    }

    #[test]
    fn a_seat_may_be_given_to_whom_it_turns_out_to_be_for() {
        let connections = connections(5, Some(1));
        let mut seat = connections.seat(None).unwrap();
        assert_eq!(seat.give_to(address(1)), Ok(()));
        let mut other = connections.seat(None).unwrap();
        assert_eq!(other.give_to(address(1)), Err(ConnectionLimit::PerAddress));
        assert_eq!(other.give_to(address(2)), Ok(()));
        assert_eq!(seat.give_to(address(3)), Ok(()));
        assert_eq!(other.give_to(address(1)), Ok(()));
        drop((seat, other));
        assert_eq!(connections.taken.load(Ordering::Relaxed), 0);
        assert!(connections.by_address().is_empty());
    }

    proptest! {
        #[test]
        fn what_is_taken_is_what_is_held_and_nothing_is_left_behind(
            steps in prop::collection::vec((any::<bool>(), 0..6_u8), 0..200),
            total in 1..12_usize,
            per_address in prop::option::of(1..4_usize),
        ) {
            let connections = connections(total, per_address);
            let mut held: Vec<(u8, Seat)> = Vec::new();
            for (comes, number) in steps {
                if comes {
                    let mine = held.iter().filter(|(owner, _)| *owner == number).count();
                    let expected = if held.len() >= total {
                        Some(ConnectionLimit::Total)
                    } else if per_address.is_some_and(|limit| mine >= limit) {
                        Some(ConnectionLimit::PerAddress)
                    } else {
                        None
                    };
                    match connections.seat(Some(address(number))) {
                        Ok(seat) => {
                            prop_assert_eq!(expected, None);
                            held.push((number, seat));
                        }
                        Err(limit) => prop_assert_eq!(expected, Some(limit)),
                    }
                } else if let Some(position) = held.iter().position(|(owner, _)| *owner == number) {
                    drop(held.swap_remove(position));
                }
            }
            held.clear();
            prop_assert_eq!(connections.taken.load(Ordering::Relaxed), 0);
            prop_assert!(connections.by_address().is_empty());
        }
    }
}
