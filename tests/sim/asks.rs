//! What shoppers and the shop's side ask, as data: so that a request can be sent twice, late, and again after a crash.
use holdfast::{
    app::{
        AdjustAsk, Answered, AppError, BulkAsk, BulkWhat, CartDone, Context, ImportLine, ImportSource,
        NewItem, NoLine, OrderDone, PaidAsk, RequestKey, Reservation, ReserveAsk, Shop, Whose,
    },
    domain::{
        bulk::{LineOutcome, Mode},
        cart::{Cart, LineId, MergeStrategy},
        ids::{CartId, CustomerId, OrderId, ReservationId, StoreId, VariantId},
        money::Currency,
        order::Order,
        time::Timestamp,
        variant::{Hold, Import, Level, SaleState, Shopper, View},
    },
};
use std::{fmt::Debug, sync::Arc};

/// One request.
#[derive(Clone, Debug)]
pub(crate) enum Ask {
    Reserve {
        variant: VariantId,
        quantity: u32,
        ttl_ms: Option<i64>,
        customer: Option<CustomerId>,
        partial: bool,
    },
    Confirm {
        id: ReservationId,
        quantity: Option<u32>,
    },
    Release(ReservationId),
    Extend {
        id: ReservationId,
        by_ms: Option<i64>,
    },
    Resize {
        id: ReservationId,
        quantity: u32,
    },
    Fulfil(ReservationId),
    Cancel(ReservationId),
    TakeBack(ReservationId),
    Bulk {
        lines: Vec<(VariantId, u32)>,
        mode: Mode,
    },
    BulkOver {
        ids: Vec<ReservationId>,
        mode: Mode,
        over: Over,
    },
    NewCart {
        customer: Option<CustomerId>,
        variant: VariantId,
        quantity: u32,
    },
    AddItem {
        cart: CartId,
        variant: VariantId,
        quantity: u32,
    },
    ChangeItem {
        cart: CartId,
        line: LineId,
        quantity: u32,
    },
    RemoveItem {
        cart: CartId,
        line: LineId,
    },
    ExtendCart(CartId),
    DeleteCart(CartId),
    Merge {
        into: CartId,
        from: CartId,
        strategy: MergeStrategy,
    },
    CheckOut {
        cart: CartId,
        customer: Option<CustomerId>,
    },
    Pay {
        order: OrderId,
        reference: String,
        amount: Option<i64>,
    },
    FailPayment(OrderId),
    CancelOrder {
        order: OrderId,
        close_cart: bool,
    },
    FulfilOrder(OrderId),
    ReturnOrder(OrderId),
    Adjust {
        variant: VariantId,
        delta: i64,
    },
    /// A list of changes of units, all or none.
    TakeOver(Vec<(VariantId, i64)>),
    SetSale {
        variant: VariantId,
        sale: SaleState,
    },
    LookAtVariant(VariantId),
    LookAtHold(ReservationId),
    LookAtCart(CartId),
    LookAtOrder(OrderId),
}

/// What a bulk request does to reservations.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Over {
    Confirm,
    Release,
    Extend,
}

/// What an answer says that must be in the log.
#[derive(Clone, Debug, Default)]
pub(crate) struct Facts {
    pub(crate) holds: Vec<Hold>,
    /// Promised by a coordinator, whose record is all that has to be there.
    pub(crate) promised: Vec<Hold>,
    pub(crate) carts: Vec<Cart>,
    pub(crate) orders: Vec<Order>,
    pub(crate) view: Option<View>,
}

/// A success: all of it as a text that a repeat must equal, and its facts.
#[derive(Clone, Debug)]
pub(crate) struct Said {
    pub(crate) text: String,
    pub(crate) facts: Facts,
}

pub(crate) fn store() -> StoreId {
    StoreId::parse("default").unwrap()
}

/// The key of a request.
pub(crate) fn request_key(key: &str, ask: &Ask) -> RequestKey {
    RequestKey::new(
        &store(),
        "shop",
        key,
        ("POST /sim", "", format!("{ask:?}").as_bytes()),
    )
}

/// A request as its caller sends it.
pub(crate) fn context(key: Option<RequestKey>, deadline: Timestamp) -> Context {
    Context {
        store: store(),
        caller: "shop".into(),
        key,
        deadline,
    }
}

fn said<T: Debug>(answered: Answered<T>, facts: impl FnOnce(T) -> Facts) -> Said {
    Said {
        text: format!("{:?} {:?}", answered.at, answered.body),
        facts: facts(answered.body),
    }
}

fn hold(reservation: Reservation) -> Facts {
    Facts {
        holds: vec![reservation.hold],
        ..Facts::default()
    }
}

fn cart(done: CartDone) -> Facts {
    Facts {
        carts: vec![*done.cart],
        ..Facts::default()
    }
}

fn order(order: Box<Order>) -> Facts {
    Facts {
        orders: vec![*order],
        ..Facts::default()
    }
}

fn ordered(done: OrderDone) -> Facts {
    order(done.order)
}

fn view(view: View) -> Facts {
    Facts {
        view: Some(view),
        ..Facts::default()
    }
}

impl Ask {
    /// Whether it changes nothing: then it needs no key to be asked again.
    pub(crate) fn only_looks(&self) -> bool {
        matches!(
            self,
            Self::LookAtVariant(_) | Self::LookAtHold(_) | Self::LookAtCart(_) | Self::LookAtOrder(_)
        )
    }

    /// Sends it to the house.
    pub(crate) async fn send(self, shop: Arc<Shop>, ctx: Context) -> Result<Said, AppError> {
        let (shop, ctx) = (&shop, &ctx);
        Ok(match self {
            Self::Reserve {
                variant,
                quantity,
                ttl_ms,
                customer,
                partial,
            } => {
                let shopper = Shopper {
                    customer,
                    ..Shopper::default()
                };
                let ask = ReserveAsk {
                    variant,
                    quantity,
                    shopper,
                    ttl_ms,
                    allow_partial: partial,
                };
                said(shop.reserve(ctx, ask).await?, hold)
            }
            Self::Confirm { id, quantity } => said(shop.confirm(ctx, id, quantity, None).await?, hold),
            Self::Release(id) => said(shop.release(ctx, id).await?, hold),
            Self::Extend { id, by_ms } => said(shop.extend(ctx, id, by_ms, None).await?, hold),
            Self::Resize { id, quantity } => said(shop.resize(ctx, id, quantity).await?, hold),
            Self::Fulfil(id) => said(shop.fulfil(ctx, id, None).await?, hold),
            Self::Cancel(id) => said(shop.cancel(ctx, id, None, true).await?, hold),
            Self::TakeBack(id) => said(shop.take_back(ctx, id, None, true).await?, hold),
            Self::Bulk { lines, mode } => {
                let what = BulkWhat::Reserve {
                    lines,
                    shopper: Shopper::default(),
                    ttl_ms: None,
                };
                bulk(shop, ctx, BulkAsk { mode, what }).await?
            }
            Self::BulkOver { ids, mode, over } => {
                let what = match over {
                    Over::Confirm => BulkWhat::Confirm(ids),
                    Over::Release => BulkWhat::Release(ids),
                    Over::Extend => BulkWhat::Extend { ids, by_ms: None },
                };
                bulk(shop, ctx, BulkAsk { mode, what }).await?
            }
            Self::NewCart {
                customer,
                variant,
                quantity,
            } => {
                let whose = Whose {
                    customer,
                    session: None,
                };
                let item = NewItem {
                    variant,
                    quantity,
                    campaign: None,
                };
                said(shop.add_item_to_new_cart(ctx, whose, item).await?, cart)
            }
            Self::AddItem {
                cart: id,
                variant,
                quantity,
            } => {
                let item = NewItem {
                    variant,
                    quantity,
                    campaign: None,
                };
                said(shop.add_item(ctx, &id, None, item).await?, cart)
            }
            Self::ChangeItem {
                cart: id,
                line,
                quantity,
            } => said(shop.change_item(ctx, &id, None, line, quantity).await?, cart),
            Self::RemoveItem { cart: id, line } => said(shop.remove_item(ctx, &id, None, line).await?, cart),
            Self::ExtendCart(id) => said(shop.extend_cart(ctx, &id, None, None).await?, cart),
            Self::DeleteCart(id) => said(shop.delete_cart(ctx, &id, None).await?, cart),
            Self::Merge { into, from, strategy } => {
                said(shop.merge_carts(ctx, &into, None, from, strategy).await?, cart)
            }
            Self::CheckOut { cart, customer } => {
                said(shop.check_out(ctx, &cart, None, customer).await?, order)
            }
            Self::Pay {
                order,
                reference,
                amount,
            } => {
                let currency = amount.and(Currency::parse("EUR"));
                let paid = PaidAsk {
                    reference,
                    amount,
                    currency,
                };
                said(shop.confirm_order(ctx, &order, paid).await?, ordered)
            }
            Self::FailPayment(id) => said(shop.fail_order(ctx, &id).await?, ordered),
            Self::CancelOrder { order, close_cart } => said(
                shop.cancel_order(ctx, &order, None, true, close_cart).await?,
                ordered,
            ),
            Self::FulfilOrder(id) => said(shop.fulfil_order(ctx, &id, None).await?, ordered),
            Self::ReturnOrder(id) => said(shop.return_order(ctx, &id, None, true).await?, ordered),
            Self::Adjust { variant, delta } => {
                let ask = AdjustAsk {
                    delta,
                    reason: "count".to_owned(),
                    reference: None,
                    expected_on_hand: None,
                };
                said(shop.adjust_stock(ctx, &variant, ask, None).await?, |done| {
                    view(done.view)
                })
            }
            Self::TakeOver(lines) => {
                let seat = shop.import_seat()?;
                let list = Arc::new(List(lines));
                said(shop.import_together(ctx, list, seat).await?, |_| Facts::default())
            }
            Self::SetSale { variant, sale } => said(shop.set_sale(ctx, &variant, sale, None).await?, view),
            Self::LookAtVariant(id) => said(shop.get_variant(ctx, &id).await?, view),
            Self::LookAtHold(id) => said(shop.get_reservation(ctx, id).await?, hold),
            Self::LookAtCart(id) => said(shop.get_cart(ctx, &id).await?, |cart| Facts {
                carts: vec![*cart],
                ..Facts::default()
            }),
            Self::LookAtOrder(id) => said(shop.get_order(ctx, &id).await?, order),
        })
    }
}

/// The lines of a list.
struct List(Vec<(VariantId, i64)>);

impl ImportSource for List {
    fn lines(&self) -> Box<dyn Iterator<Item = Result<ImportLine, NoLine>> + Send + '_> {
        let line = |(number, (variant, delta)): (u64, &(VariantId, i64))| {
            Ok(ImportLine {
                number,
                variant: variant.clone(),
                import: Import {
                    settings: Vec::new(),
                    level: Some(Level::Delta(*delta)),
                    sale: None,
                    reference: format!("line {number}"),
                    by: "shop".to_owned(),
                },
            })
        };
        Box::new((1..).zip(&self.0).map(line))
    }
}

async fn bulk(shop: &Shop, ctx: &Context, ask: BulkAsk) -> Result<Said, AppError> {
    let done = shop.bulk(ctx, ask).await?;
    Ok(said(done, |done| {
        let outcomes = done.lines.into_iter().map(|(_, outcome)| outcome);
        let holds = outcomes.filter_map(|outcome| match outcome {
            LineOutcome::Done(hold) => Some(hold),
            LineOutcome::Refused(_) | LineOutcome::Unanswered => None,
        });
        Facts {
            promised: holds.collect(),
            ..Facts::default()
        }
    }))
}
