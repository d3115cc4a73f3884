//! Every no of this service, as RFC 9457 problem bodies.
//!
//! One table names each code with its status, title, whether a retry can help, and what to do; the same table serves
//! `/problems/{code}` and the OpenAPI document. A handler returns a [`Problem`]; the frame around every route renders it
//! once, because only there the request id is known. Plain-text rejections of the framework are turned into problems at
//! the same place, so nothing else ever leaves.
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde::ser::{SerializeMap, Serializer};
use serde_json::Value;
use std::borrow::Cow;

/// The content type of every problem.
pub const PROBLEM_JSON: &str = "application/problem+json";

macro_rules! codes {
    ($($variant:ident $code:literal $status:literal $retryable:literal $title:literal $advice:literal;)*) => {
        /// A problem's code: the last part of its `type`. Codes are a promise; they are added, never renamed.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Code {
            $(#[doc = $title] $variant,)*
        }

        impl Code {
            /// Every code, by status.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// The row of the table.
            const fn entry(self) -> Entry {
                match self {
                    $(Self::$variant => Entry { code: $code, status: $status, retryable: $retryable, title: $title, advice: $advice },)*
                }
            }
        }
    };
}

struct Entry {
    code: &'static str,
    status: u16,
    retryable: bool,
    title: &'static str,
    advice: &'static str,
}

codes! {
    MalformedJson "malformed-json" 400 false "The body is not JSON"
        "Send one JSON object encoded as UTF-8. `detail` says where reading stopped.";
    MalformedRequest "malformed-request" 400 false "The request could not be read"
        "The path or the body did not arrive as HTTP says it should. Check the client or a proxy on the way.";
    InvalidHeader "invalid-header" 400 false "A header has an unusable value"
        "`header` names it. Idempotency-Key is 1 to 255 visible ASCII characters; If-Match is one strong entity tag such as \"17\", or *.";
    IdempotencyKeyMissing "idempotency-key-missing" 400 false "This server wants an Idempotency-Key"
        "Make a fresh key (a UUID will do) for every intent and repeat it with every retry of that intent.";
    Unauthenticated "unauthenticated" 401 false "Credentials are missing or wrong"
        "Send `Authorization: Bearer <key>`.";
    CartTokenInvalid "cart-token-invalid" 403 false "That is not the token of this cart"
        "A guest cart's token came with the answer that made it, as `cartToken` and in the Cart-Token header.";
    CrossSiteRequest "cross-site-request" 403 false "A page of another origin may change nothing here"
        "The browser says that the request comes from another site or port. Call from this service's own pages or from a server; whoever is no browser sends neither Sec-Fetch-Site nor Origin.";
    RouteNotFound "route-not-found" 404 false "There is nothing at this address"
        "Look the route up in /docs or /openapi.json.";
    VariantNotFound "variant-not-found" 404 false "No such variant"
        "`variantId` names it. Variants are made with POST /api/stock/variants.";
    ReservationNotFound "reservation-not-found" 404 false "No such reservation"
        "It never existed, or it ended longer ago than ended reservations are kept.";
    CartNotFound "cart-not-found" 404 false "No such cart"
        "It never existed, or it ended longer ago than ended carts are kept. POST /api/cart makes one.";
    LineNotFound "line-not-found" 404 false "No such line"
        "Read the cart or order again; `lineId` or `variantId` names what was asked for.";
    OrderNotFound "order-not-found" 404 false "No such order"
        "Orders are made by POST /api/cart/{id}/checkout.";
    RefundNotFound "refund-not-found" 404 false "No refund is asked for under this payment reference"
        "The order's `refunds` lists those that are.";
    SnapshotNotFound "snapshot-not-found" 404 false "No such snapshot"
        "GET /api/admin/snapshots lists those that are there. A restore needs one from before its cut.";
    QuarantineNotFound "quarantine-not-found" 404 false "That variant is not in quarantine"
        "GET /api/admin/quarantine lists those that are.";
    OperationNotFound "operation-not-found" 404 false "No such operation"
        "The process keeps the last few; one that was restarted has forgotten them.";
    MethodNotAllowed "method-not-allowed" 405 false "This address does not take that method"
        "The Allow header lists the methods that it takes.";
    NotAcceptable "not-acceptable" 406 false "There is no such form of this"
        "Accept names none that there is: a list of stock is text/csv or application/x-ndjson.";
    RequestTimeout "request-timeout" 408 true "The request took too long to arrive"
        "The body stopped coming. Nothing was done; send it again.";
    InsufficientStock "insufficient-stock" 409 false "Not enough units are free"
        "`lines` says for each variant what was asked and what is free; `nextReleaseAt` is when the next hold may give units back.";
    SaleNotOpen "sale-not-open" 409 false "The variant is not on sale now"
        "`saleState` says why; `opensAt` says from when, if that is known.";
    LimitReached "limit-reached" 409 false "A limit on units or holds is reached"
        "`limit` names it, with what is allowed and what already counts.";
    AlreadyHeld "already-held" 409 false "This shopper already holds this variant"
        "`reservationId` names the hold; change its quantity instead.";
    ExtensionLimit "extension-limit" 409 false "The hold cannot be extended further"
        "Confirm it before `expiresAt`, or release it and reserve again.";
    ReservationReleased "reservation-released" 409 false "The reservation was released"
        "Its units went back. Reserve again.";
    ReservationConfirmed "reservation-confirmed" 409 false "The reservation was confirmed"
        "Its units are sold. Cancel or return them instead.";
    ReservationNotConfirmed "reservation-not-confirmed" 409 false "The reservation is not confirmed yet"
        "Only confirmed units can be shipped, cancelled or returned. Confirm or release it first.";
    OwnedByOrder "owned-by-order" 409 false "An order owns this reservation"
        "Confirm, cancel, ship or return it through its order; `orderId` names it.";
    TooManyUnits "too-many-units" 409 false "More units than the reservation has left"
        "`requested` and `allowed` give the figures; what was shipped, cancelled or returned is gone.";
    AlreadyExists "already-exists" 409 false "That id is taken"
        "Read what is there, or choose another id.";
    HasActiveHolds "has-active-holds" 409 false "Units of this variant are held or sold"
        "Drain the variant and let its holds end, then try again.";
    BelowHeld "below-held" 409 false "The stock level would fall below what is held and sold"
        "`minimum` is the lowest level that covers holds and unshipped units.";
    ExpectedMismatch "expected-mismatch" 409 false "The stock level is not the one you expected"
        "`onHand` is the level now. Decide again with it.";
    LinesRefused "lines-refused" 409 false "Some lines were refused, so none was kept"
        "`lines` lists every failing line with its own code.";
    LinesUnavailable "lines-unavailable" 409 false "Some lines cannot be had"
        "`lines` lists every one of them with its own code. Nothing was taken and the cart is the shopper's again: change or remove those lines.";
    CartEmpty "cart-empty" 409 false "There is nothing to check out"
        "Add something first.";
    CartCheckingOut "cart-checking-out" 409 false "The cart's order awaits its payment"
        "`orderId` names it. Pay, fail or cancel the order; a failed or cancelled one gives the cart back.";
    CartOrdered "cart-ordered" 409 false "The cart's order was paid"
        "`orderId` names it. Make a new cart.";
    MergeConflict "merge-conflict" 409 false "The carts cannot be merged"
        "`detail` says why: it is the same cart, another customer's, or one of them is not active.";
    CurrencyMismatch "currency-mismatch" 409 false "The cart is in another currency"
        "One cart has one currency; `variantId` names the variant that is priced in another.";
    OrderState "order-state" 409 false "The order is not in a state for this"
        "`orderStatus` says where it stands.";
    RefundRequired "refund-required" 409 false "The payment cannot be honoured and must be paid back"
        "`refund` says which payment and why. Pay it back, then POST /api/orders/{id}/refunds/{paymentReference}/done. Never show this shopper a thank-you page.";
    AmountMismatch "amount-mismatch" 409 false "What was paid is not what the order costs"
        "`refund` names the payment that must be paid back; the order's `total` is what it costs.";
    SnapshotRunning "snapshot-running" 409 true "A snapshot is being taken or verified"
        "One at a time. Wait for it, then repeat with the same key.";
    RequestInFlight "request-in-flight" 409 true "The first request with this key is still at work"
        "Wait as long as Retry-After says, then repeat with the same key.";
    PlanStale "plan-stale" 409 false "The plan is not good any more"
        "`detail` says why. Have it planned again, read what it means now, and send the new planToken.";
    ReservationExpired "reservation-expired" 410 false "The reservation expired"
        "Its units went back at `endedAt`. Reserve again.";
    CartMerged "cart-merged" 410 false "Another cart has taken over this one"
        "`mergedInto` names it; go on with that.";
    CartAbandoned "cart-abandoned" 410 false "The cart has ended"
        "It was deleted or left alone too long, and everything in it was given back. Make a new one.";
    HistoryTooOld "history-too-old" 410 false "The past is not known so far back"
        "`oldestNumber` is the first record behind which the variant's state is known: the log and its archive have let the records before it go.";
    CursorTooOld "cursor-too-old" 410 false "The cursor is of before a restore"
        "The shop was put back since the page before was read, so that what the cursor stands behind may be gone. Read the list again from its start.";
    StaleVersion "stale-version" 412 false "It changed since you read it"
        "Read it again, decide again, and send its new ETag in If-Match. `version` is the version now.";
    BodyTooLarge "body-too-large" 413 false "The body is too large"
        "`limitBytes` is the most this route takes.";
    UnsupportedMediaType "unsupported-media-type" 415 false "The body is in no form that this route takes"
        "Send `Content-Type: application/json`. An import takes text/csv or application/x-ndjson, in UTF-8 and without Content-Encoding.";
    MisdirectedRequest "misdirected-request" 421 false "This service does not answer to that name"
        "Without credentials it answers to localhost and loopback addresses only, so that no web page reaches it under a name of its own. Use http://localhost or http://127.0.0.1, or configure `auth.admin_key`.";
    InvalidMember "invalid-member" 422 false "A member of the body is missing, unknown or out of range"
        "`member` names it and `expected` says what it must be. Unknown members are refused so that a typo never silently drops a limit.";
    InvalidLines "invalid-lines" 422 false "Some lines of the list cannot be taken, so nothing was done"
        "`lines` says for each of the first 100 which `member` and what is wrong; `total` counts all. Mend them and send the whole list again.";
    ListTooLarge "list-too-large" 422 false "The list is too large to be taken all or nothing"
        "`limitLines` or `limitBytes` is the most that `atomic=true` takes; nothing was done. Send it in parts, or without: then what one line says happens together or not at all.";
    InvalidParameter "invalid-parameter" 422 false "A part of the address is missing, unknown or out of range"
        "`parameter` names the path or query parameter and `expected` says what it must be.";
    SnapshotDamaged "snapshot-damaged" 422 false "The snapshot, or the log behind it, is not what was written"
        "`detail` says where, and `offset` in a snapshot. Use an earlier one, or cut before the damage, and look at the disk.";
    IdempotencyKeyReused "idempotency-key-reused" 422 false "This key belongs to another request"
        "The same key came with another body, route or caller. Use a fresh key for every intent.";
    CutUnreachable "cut-unreachable" 422 false "The shop cannot be put back to there"
        "`detail` says how far snapshot and log reach.";
    PreconditionRequired "precondition-required" 428 false "Say which version you mean to change"
        "Read it, and send its ETag in If-Match (or * to write whatever is there).";
    TooManyRequests "too-many-requests" 429 true "Too many requests for this variant at once"
        "Wait as long as Retry-After says.";
    Internal "internal" 500 false "A fault of ours"
        "It is logged under `requestId`. A retry with the same Idempotency-Key is safe.";
    Overloaded "overloaded" 503 true "Too much work is waiting"
        "Nothing was done. Wait as long as Retry-After says.";
    NotReady "not-ready" 503 true "The service is still starting"
        "It replays its log; /startupz on the operations listener shows how far it is.";
    Restoring "restoring" 503 true "The shop is being put back"
        "An operator restores it from a snapshot. Wait as long as Retry-After says, then repeat with the same Idempotency-Key.";
    Draining "draining" 503 true "The service is shutting down"
        "Nothing was done. Another instance, or this one after its restart, will answer.";
    StorageUnavailable "storage-unavailable" 503 true "The disk does not take new business now"
        "Nothing was promised. Below the disk reserve new holds and variants are refused while confirm, release and expiry go on; an operator must make room. Repeat with the same Idempotency-Key.";
    OutcomeUnknown "outcome-unknown" 503 true "The outcome is not known"
        "The work was handed over, but no answer came in time: it may have happened. Repeat with the same Idempotency-Key and you get the one true answer.";
    VariantQuarantined "variant-quarantined" 503 true "This variant is set aside"
        "A law was found broken for it. An operator must look: GET /api/admin/quarantine. Other variants are served.";
    InsufficientStorage "insufficient-storage" 507 true "The disk has no room for this"
        "Nothing was kept of it, and earlier snapshots are as they were. An operator must make room.";
}

impl Code {
    /// The code as callers see it, such as `insufficient-stock`.
    pub const fn as_str(self) -> &'static str {
        self.entry().code
    }

    /// The status that goes with it: chosen by who must act next.
    pub fn status(self) -> StatusCode {
        StatusCode::from_u16(self.entry().status).expect("the table holds valid statuses")
    }

    /// One line for people.
    pub const fn title(self) -> &'static str {
        self.entry().title
    }

    /// Whether the same request may succeed later without a change by the caller.
    pub const fn retryable(self) -> bool {
        self.entry().retryable
    }

    /// What the caller can do.
    pub const fn advice(self) -> &'static str {
        self.entry().advice
    }

    /// Seconds to wait by default, where waiting helps.
    pub const fn retry_after(self) -> Option<u32> {
        match self.entry() {
            Entry {
                status: 409 | 429 | 503,
                retryable: true,
                ..
            } => Some(1),
            Entry { status: 507, .. } => Some(60),
            _ => None,
        }
    }

    /// The code with this text.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|code| code.as_str() == text)
    }

    /// The code for a rejection that the framework made without us.
    fn of_status(status: StatusCode) -> Self {
        match status.as_u16() {
            404 => Self::RouteNotFound,
            405 => Self::MethodNotAllowed,
            408 => Self::RequestTimeout,
            413 => Self::BodyTooLarge,
            415 => Self::UnsupportedMediaType,
            422 => Self::InvalidParameter,
            400..=499 => Self::MalformedRequest,
            _ => Self::Internal,
        }
    }
}

/// One no: its code, what happened this time, and the data that a program needs.
#[derive(Clone, Debug)]
pub struct Problem {
    code: Code,
    detail: Cow<'static, str>,
    data: Vec<(&'static str, Value)>,
    retry_after_seconds: Option<u32>,
}

impl Problem {
    /// A problem whose detail is the code's title.
    pub fn new(code: Code) -> Self {
        Self {
            code,
            detail: Cow::Borrowed(code.title()),
            data: Vec::new(),
            retry_after_seconds: code.retry_after(),
        }
    }

    /// What happened this time, for people.
    #[must_use]
    pub fn detail(mut self, detail: impl Into<Cow<'static, str>>) -> Self {
        self.detail = detail.into();
        self
    }

    /// Adds a member for programs.
    #[must_use]
    pub fn with(mut self, name: &'static str, value: impl Into<Value>) -> Self {
        self.data.push((name, value.into()));
        self
    }

    /// Whether the state of stock, cart or order says no.
    pub(super) fn is_conflict(&self) -> bool {
        self.code.status() == StatusCode::CONFLICT
    }

    /// Adds a member when there is something to say.
    #[must_use]
    pub fn with_some(self, name: &'static str, value: Option<impl Into<Value>>) -> Self {
        match value {
            Some(value) => self.with(name, value),
            None => self,
        }
    }

    /// Sets the Retry-After header.
    #[must_use]
    pub fn retry_after(mut self, seconds: u32) -> Self {
        self.retry_after_seconds = Some(seconds);
        self
    }

    /// What happened this time.
    pub fn told(&self) -> &str {
        &self.detail
    }

    /// A member for programs.
    pub fn data(&self, name: &str) -> Option<&Value> {
        let found = self.data.iter().find(|(known, _)| *known == name);
        found.map(|(_, value)| value)
    }

    /// Its code.
    pub fn code(&self) -> Code {
        self.code
    }

    /// A member of the body that is missing, unknown or out of range.
    pub fn invalid_member(member: impl Into<String>, expected: impl Into<String>) -> Self {
        let (member, expected) = (member.into(), expected.into());
        Self::new(Code::InvalidMember)
            .detail(format!("{member}: expected {expected}"))
            .with("member", member)
            .with("expected", expected)
    }

    /// A path or query parameter that is missing, unknown or out of range.
    pub fn invalid_parameter(parameter: impl Into<String>, expected: impl Into<String>) -> Self {
        let (parameter, expected) = (parameter.into(), expected.into());
        Self::new(Code::InvalidParameter)
            .detail(format!("{parameter}: expected {expected}"))
            .with("parameter", parameter)
            .with("expected", expected)
    }

    /// A header whose value cannot be used.
    pub fn invalid_header(header: &'static str, expected: &'static str) -> Self {
        Self::new(Code::InvalidHeader)
            .detail(format!("{header}: expected {expected}"))
            .with("header", header)
            .with("expected", expected)
    }

    /// The body as callers see it.
    pub fn body<'a>(&'a self, request_id: &'a str) -> ProblemBody<'a> {
        ProblemBody {
            problem: self,
            request_id,
            traceparent: None,
        }
    }

    /// The problem as one of several lines: code, title and data, without what belongs to the whole answer. What it says of its
    /// own line is said in it.
    pub fn as_line(&self) -> Value {
        let mut line = serde_json::Map::new();
        line.insert("code".to_owned(), self.code.as_str().into());
        line.insert("title".to_owned(), self.code.title().into());
        for (name, value) in &self.data {
            match value.as_array().and_then(|lines| lines.first()?.as_object()) {
                Some(own) if *name == "lines" => line.extend(own.clone()),
                Some(_) | None => {
                    line.insert((*name).to_owned(), value.clone());
                }
            }
        }
        Value::Object(line)
    }

    /// The one place where a no becomes a response. `headers` that the framework set (Allow) are kept by the caller.
    pub fn render(&self, request_id: &str, traceparent: &str) -> Response {
        let body = ProblemBody {
            traceparent: Some(traceparent),
            ..self.body(request_id)
        };
        let body = serde_json::to_vec(&body).expect("a problem is plain JSON data");
        let mut response = (self.code.status(), body).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(PROBLEM_JSON));
        if let Some(seconds) = self.retry_after_seconds {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if self.code == Code::Unauthenticated {
            headers.insert(
                header::WWW_AUTHENTICATE,
                HeaderValue::from_static("Bearer realm=\"holdfast\""),
            );
        }
        response
    }

    /// The problem that a response stands for: ours, or one for a rejection that the framework made without us.
    pub(super) fn of_response(response: &mut Response) -> Option<Self> {
        if let Some(problem) = response.extensions_mut().remove::<Self>() {
            return Some(problem);
        }
        let status = response.status();
        (status.is_client_error() || status.is_server_error()).then(|| Self::new(Code::of_status(status)))
    }
}

/// Carries the problem to the frame, which renders it with the request's id.
impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = self.code.status().into_response();
        response.extensions_mut().insert(self);
        response
    }
}

/// A problem with its request's id, in the order of RFC 9457.
#[derive(Clone, Copy, Debug)]
pub struct ProblemBody<'a> {
    problem: &'a Problem,
    request_id: &'a str,
    traceparent: Option<&'a str>,
}

impl Serialize for ProblemBody<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Problem {
            code, detail, data, ..
        } = self.problem;
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("type", &TypeUri(*code))?;
        map.serialize_entry("title", code.title())?;
        map.serialize_entry("status", &code.status().as_u16())?;
        map.serialize_entry("detail", detail)?;
        map.serialize_entry("code", code.as_str())?;
        map.serialize_entry("retryable", &code.retryable())?;
        map.serialize_entry("requestId", self.request_id)?;
        if let Some(traceparent) = self.traceparent {
            map.serialize_entry("traceparent", traceparent)?;
        }
        for (name, value) in data {
            map.serialize_entry(name, value)?;
        }
        map.end()
    }
}

struct TypeUri(Code);

impl Serialize for TypeUri {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("/problems/{}", self.0.as_str()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_sound() {
        for (index, code) in Code::ALL.iter().enumerate() {
            assert_eq!(Code::parse(code.as_str()), Some(*code), "{code:?} is there once");
            assert!(code.status().is_client_error() || code.status().is_server_error());
            assert!(
                !code.title().ends_with('.'),
                "{code:?} has a title, not a sentence"
            );
            assert!(code.advice().ends_with('.'), "{code:?} has advice in sentences");
            let earlier = index.checked_sub(1).map(|at| Code::ALL[at].status());
            assert!(earlier <= Some(code.status()), "{code:?} stands among its status");
        }
    }

    #[test]
    fn a_body_has_the_members_of_the_contract_in_order() {
        let problem = Problem::new(Code::InsufficientStock)
            .detail("2 asked, 1 free")
            .with("available", 1);
        assert_eq!(
            serde_json::to_string(&problem.body("r1")).unwrap(),
            r#"{"type":"/problems/insufficient-stock","title":"Not enough units are free","status":409,"detail":"2 asked, 1 free","code":"insufficient-stock","retryable":false,"requestId":"r1","available":1}"#
        );
    }

    #[test]
    fn waiting_is_advised_where_it_helps() {
        let wait = |code| {
            Problem::new(code)
                .render("r", "t")
                .headers()
                .get(header::RETRY_AFTER)
                .is_some()
        };
        assert!(wait(Code::Overloaded) && wait(Code::RequestInFlight) && wait(Code::TooManyRequests));
        assert!(!wait(Code::InsufficientStock) && !wait(Code::Internal));
    }
}
