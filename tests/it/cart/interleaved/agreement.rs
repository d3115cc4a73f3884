//! What has to hold in any interleaving.
use super::{Mail, POLICY, STOCK, Sim, Who};
use holdfast::domain::{
    cart::{self, LineHold},
    ids::CartId,
    order,
    variant::HoldStatus,
};

impl Sim {
    /// AGREE, where nothing is under way.
    pub(super) fn expect_agreement(&self) {
        for (cart, _) in self.carts.values() {
            for line in &cart.lines {
                let LineHold::Held(kept) = line.hold else { continue };
                let hold = self.variants[line.ordinal.0 as usize]
                    .variant
                    .hold(kept.reservation);
                let agrees = cart.check_line(line, hold, self.now);
                agrees.unwrap_or_else(|broken| {
                    let happened = self.variants[line.ordinal.0 as usize].log.iter();
                    let happened = happened
                        .filter(|(event, _)| event.hold().is_some_and(|hold| hold.id == kept.reservation));
                    let happened: Vec<_> = happened.collect();
                    panic!("{broken}: {cart:?}, of whose hold {happened:#?}")
                });
            }
        }
        for hold in self.variants.iter().flat_map(|world| world.variant.holds()) {
            if hold.status == HoldStatus::Confirmed || hold.is_due(self.now) {
                continue;
            }
            assert!(
                hold.pin.is_none() && hold.status == HoldStatus::Active,
                "{hold:?}"
            );
            let answers_for = match &hold.order {
                Some(order) => {
                    let order = &self.orders[&order.bits().unwrap()].0;
                    order.status == order::Status::PendingPayment
                        && order.lines.iter().any(|line| line.reservation == hold.id)
                }
                None => {
                    let cart = hold.shopper.cart.as_ref().and_then(CartId::bits).unwrap();
                    self.carts[&cart].0.accounts_for(hold.id)
                }
            };
            assert!(answers_for, "nobody answers for {hold:?}");
        }
        for (number, world) in self.variants.iter().enumerate() {
            world.variant.recount().unwrap();
            let lines = self.orders.values().filter(|(order, _)| order.payment.is_some());
            let lines = lines.flat_map(|(order, _)| &order.lines);
            let here = lines.filter(|line| line.ordinal.0 as usize == number);
            let (mut committed, mut on_hand) = (0, STOCK[number]);
            for line in here {
                let moved = line.fulfilment;
                committed += u64::from(line.quantity - moved.shipped - moved.cancelled);
                on_hand = on_hand + u64::from(moved.returned) - u64::from(moved.shipped);
            }
            assert_eq!(
                world.variant.committed(),
                committed,
                "units sold of variant {number}"
            );
            assert_eq!(
                world.variant.head().on_hand,
                on_hand,
                "each unit once, of variant {number}"
            );
        }
    }

    /// Shoppers leave and payments do not come: nothing stays held.
    pub(super) fn give_everything_back(&mut self) {
        self.pass(POLICY.payment_ttl_ms + 1);
        self.settle();
        for number in self.carts.keys().copied().collect::<Vec<_>>() {
            self.post(Who::Cart(number), Mail::CartCommand(cart::Command::Delete));
        }
        self.settle();
        self.pass(POLICY.max_ttl_ms);
        self.settle();
        for world in &self.variants {
            assert_eq!(world.variant.held(), 0, "nothing is left behind");
        }
        self.expect_agreement();
    }

    /// One outcome for each order, and for each payment.
    pub(super) fn expect_outcomes(&self) {
        for (number, (order, _)) in &self.orders {
            let happened = || {
                self.told
                    .iter()
                    .filter(|(of, _)| of == number)
                    .map(|(_, said)| said)
            };
            let times = |what: fn(&order::Happened) -> bool| happened().filter(|said| what(said)).count();
            let confirmed = times(|said| *said == order::Happened::Confirmed);
            let failed = times(|said| *said == order::Happened::PaymentFailed);
            assert!(
                times(|said| *said == order::Happened::PaymentAccepted) <= 1,
                "{order:?}"
            );
            assert!(
                times(|said| *said == order::Happened::PaymentExpired) <= 1,
                "{order:?}"
            );
            assert!(confirmed + failed <= 1, "{order:?}");
            assert_eq!(confirmed == 1, order.payment.is_some(), "{order:?}");
            let open = [order::Status::Opening, order::Status::PendingPayment];
            assert!(!open.contains(&order.status), "{order:?}");
            for refund in &order.refunds {
                let asked_back = |said: &&order::Happened| match said {
                    order::Happened::RefundRequired { reference } => *reference == refund.reference,
                    _ => false,
                };
                assert_eq!(happened().filter(asked_back).count(), 1, "{refund:?}");
            }
        }
        for (number, reference, taken) in &self.answered {
            let order = &self.orders[number].0;
            let is_taken = order
                .payment
                .as_ref()
                .is_some_and(|paid| paid.reference == *reference);
            assert_eq!(is_taken, *taken, "{reference} of {order:?}");
            assert_eq!(
                order.refund(reference).is_some(),
                !*taken,
                "{reference} of {order:?}"
            );
        }
    }
}
