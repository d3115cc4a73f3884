//! Who may call. Without an admin key the service is open, and then it listens on loopback only (the configuration
//! refuses anything else); with one, every `/api` route wants it as a bearer token. A few routes about one cart let a guest
//! in instead, who shows that cart's token; whether it is the right one is judged there, by [`Caller::check`], because only
//! there the cart is known.
use super::extract::header::{CART_TOKEN, cart_token};
use super::problem::{Code, Problem};
use super::site::Site;
use crate::domain::ids::CartId;
use axum::extract::{FromRequestParts, MatchedPath, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, Method, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use std::fmt;
use std::sync::Arc;
use subtle::ConstantTimeEq;

/// The key that callers must show. Only its hash is kept, so that neither a dump nor the time a comparison takes tells
/// its length or content.
#[derive(Clone)]
pub struct AdminKey([u8; 32]);

impl AdminKey {
    /// Takes the key's text.
    pub fn new(key: &str) -> Self {
        Self(*blake3::hash(key.as_bytes()).as_bytes())
    }

    fn opens_for(&self, headers: &HeaderMap) -> bool {
        let Some(value) = headers
            .get(header::AUTHORIZATION)
            .and_then(|value| value.to_str().ok())
        else {
            return false;
        };
        let Some((scheme, token)) = value.split_once(' ') else {
            return false;
        };
        let shown = blake3::hash(token.trim_start().as_bytes());
        scheme.eq_ignore_ascii_case("bearer") && bool::from(shown.as_bytes().ct_eq(&self.0))
    }
}

impl fmt::Debug for AdminKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AdminKey(masked)")
    }
}

/// The routes of one cart that a guest may use with its token. Each of their handlers takes a [`Caller`] and has it checked.
pub const GUEST_ROUTES: &[(Method, &str)] = &[
    (Method::GET, "/api/cart/{id}"),
    (Method::DELETE, "/api/cart/{id}"),
    (Method::POST, "/api/cart/items"),
    (Method::POST, "/api/cart/{id}/items"),
    (Method::PATCH, "/api/cart/{id}/items/{lineId}"),
    (Method::DELETE, "/api/cart/{id}/items/{lineId}"),
    (Method::POST, "/api/cart/{id}/extend"),
    (Method::POST, "/api/cart/{id}/checkout"),
];

/// Marks a request that came without the key: whose keys and ledger lines it makes. Each token is a caller of its own, so
/// that one guest's idempotency keys are no business of another.
#[derive(Clone, Debug)]
pub struct Guest(pub Arc<str>);

impl Guest {
    /// The guest of a request, if its route takes guests and it shows a token.
    fn of(request: &Request) -> Option<Self> {
        let route = request.extensions().get::<MatchedPath>()?;
        let takes = |(method, path): &(Method, &str)| method == request.method() && *path == route.as_str();
        let token = request.headers().get(CART_TOKEN)?;
        GUEST_ROUTES.iter().any(takes).then(|| {
            let hash = blake3::hash(token.as_bytes()).to_hex();
            Self(Arc::from(format!("guest:{}", &hash[..GUEST_DIGITS])))
        })
    }
}

/// Digits of a token's hash that tell guests apart.
const GUEST_DIGITS: usize = 32;

/// Lets a request pass that shows the key, and one of a guest who shows a cart's token on a route that will judge it.
pub async fn require_key(State(key): State<Arc<AdminKey>>, mut request: Request, next: Next) -> Response {
    if key.opens_for(request.headers()) {
        return next.run(request).await;
    }
    let Some(guest) = Guest::of(&request) else {
        return Problem::new(Code::Unauthenticated).into_response();
    };
    request.extensions_mut().insert(guest);
    next.run(request).await
}

/// Who asks something of a cart.
#[derive(Clone, Debug)]
pub struct Caller {
    trusted: bool,
    token: Option<String>,
}

impl<S: Sync> FromRequestParts<S> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        Ok(Self {
            trusted: parts.extensions.get::<Guest>().is_none(),
            token: cart_token(&parts.headers)?.map(str::to_owned),
        })
    }
}

impl Caller {
    /// Whether the caller may act on any cart: it has the key, or the service is open.
    pub fn is_trusted(&self) -> bool {
        self.trusted
    }

    /// Lets the caller act on this cart. A token that is shown must be right, even if none is needed: who shows a wrong one
    /// is mistaken about the cart.
    ///
    /// # Errors
    /// `cart-token-invalid`, or `unauthenticated` without any.
    pub fn check(&self, site: &Site, cart: &CartId) -> Result<(), Problem> {
        match &self.token {
            Some(token) if !site.shop.is_cart_token(cart, token) => {
                Err(Problem::new(Code::CartTokenInvalid).with("cartId", cart.as_str()))
            }
            None if !self.trusted => Err(Problem::new(Code::Unauthenticated)),
            Some(_) | None => Ok(()),
        }
    }

    /// Lets only a trusted caller say who a customer is, or have a cart found or made.
    ///
    /// # Errors
    /// `unauthenticated`.
    pub fn check_trusted(&self, what: &'static str) -> Result<(), Problem> {
        if self.trusted {
            Ok(())
        } else {
            Err(Problem::new(Code::Unauthenticated).detail(what))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;

    #[test]
    fn only_the_whole_key_opens() {
        let key = AdminKey::new("s3cret");
        let opens = |value: &'static str| {
            key.opens_for(&HeaderMap::from_iter([(
                header::AUTHORIZATION,
                HeaderValue::from_static(value),
            )]))
        };
        assert!(opens("Bearer s3cret") && opens("bearer s3cret"));
        for refused in [
            "",
            "Bearer",
            "Bearer ",
            "Bearer s3cre",
            "Bearer s3cretx",
            "Basic s3cret",
            "s3cret",
        ] {
            assert!(!opens(refused), "{refused}");
        }
        assert!(!key.opens_for(&HeaderMap::new()));
        assert_eq!(format!("{key:?}"), "AdminKey(masked)");
    }
}
