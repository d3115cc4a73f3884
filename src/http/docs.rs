//! Pages for people: the documentation of the API and of every problem. Everything is embedded; no page asks another host.
use super::problem::{Code, Problem};
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware::map_response;
use axum::response::{Html, IntoResponse, Redirect, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde_json::json;
use std::sync::Arc;
use utoipa_swagger_ui::Config;

/// The document, rendered once.
#[derive(Clone)]
struct Pages {
    openapi: Arc<str>,
    swagger: Arc<Config<'static>>,
}

/// `/openapi.json`, `/docs` and `/problems/{code}`.
pub fn docs(openapi_json: String) -> Router {
    // Without `validatorUrl: none` Swagger UI would send the document's address to a public validator.
    let swagger = Config::from("/openapi.json")
        .validator_url("none")
        .deep_linking(true);
    let pages = Pages {
        openapi: openapi_json.into(),
        swagger: Arc::new(swagger),
    };
    Router::new()
        .route("/openapi.json", get(openapi))
        .route("/docs", get(|| async { Redirect::permanent("/docs/") }))
        .route("/docs/", get(swagger_index))
        .route("/docs/{*file}", get(swagger_file))
        .route("/problems", get(problems))
        .route("/problems/{code}", get(problem_page))
        .with_state(pages)
        .layer(map_response(confine))
}

/// What a page may do: nothing of another host is loaded, and no page of another host frames it (a button behind an
/// invisible frame is pressed by people who mean another). Swagger UI sets styles and shows pictures of its own.
const POLICY: &str = "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; frame-ancestors 'none'; \
                      base-uri 'none'; form-action 'none'";

async fn confine(mut response: Response) -> Response {
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    headers.insert(
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    );
    response
}

async fn openapi(State(pages): State<Pages>) -> Response {
    (
        [(header::CONTENT_TYPE, "application/json")],
        pages.openapi.to_string(),
    )
        .into_response()
}

async fn swagger_index(State(pages): State<Pages>) -> Response {
    embedded("index.html", &pages.swagger)
}

async fn swagger_file(State(pages): State<Pages>, Path(file): Path<String>) -> Response {
    embedded(&file, &pages.swagger)
}

fn embedded(file: &str, config: &Arc<Config<'static>>) -> Response {
    let found = match utoipa_swagger_ui::serve(file, Arc::clone(config)) {
        Ok(Some(found)) => found,
        Ok(None) => return Problem::new(Code::RouteNotFound).into_response(),
        Err(error) => {
            tracing::error!(%error, file, "an embedded page could not be rendered");
            return Problem::new(Code::Internal).into_response();
        }
    };
    let mut response = found.bytes.into_owned().into_response();
    let headers = response.headers_mut();
    let content_type = HeaderValue::try_from(found.content_type);
    headers.insert(
        header::CONTENT_TYPE,
        content_type.expect("a media type is visible ASCII"),
    );
    if found.gzpipped {
        headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    response
}

/// Every code, for programs.
async fn problems() -> Response {
    Json(Code::ALL.iter().map(|code| described(*code)).collect::<Vec<_>>()).into_response()
}

/// One code: a page for a browser, data for a program.
async fn problem_page(Path(code): Path<String>, headers: HeaderMap) -> Response {
    let Some(code) = Code::parse(&code) else {
        return Problem::new(Code::RouteNotFound).into_response();
    };
    let accepted = headers
        .get(header::ACCEPT)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    if accepted.contains("text/html") {
        page(code).into_response()
    } else {
        Json(described(code)).into_response()
    }
}

fn described(code: Code) -> serde_json::Value {
    json!({
        "type": format!("/problems/{}", code.as_str()),
        "code": code.as_str(),
        "status": code.status().as_u16(),
        "title": code.title(),
        "retryable": code.retryable(),
        "advice": code.advice(),
    })
}

fn page(code: Code) -> (StatusCode, Html<String>) {
    let (name, title) = (code.as_str(), code.title());
    let status = code.status();
    let retry = if code.retryable() {
        "A retry may succeed."
    } else {
        "A retry of the same request does not help."
    };
    let advice = code.advice().replace('&', "&amp;").replace('<', "&lt;");
    let html = format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>{name}</title>\
         <body style=\"font-family: system-ui; max-width: 42rem; margin: 3rem auto; padding: 0 1rem\">\
         <h1>{title}</h1><p><code>{name}</code>, status {status}. {retry}</p><p>{advice}</p>\
         <p><a href=\"/docs/\">API documentation</a></p></body></html>"
    );
    (StatusCode::OK, Html(html))
}
