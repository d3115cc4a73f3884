//! The table of contents of the public listener.
use super::auth::{AdminKey, require_key};
use super::docs::docs;
use super::frame::{Frame, FrameLayer};
use super::openapi::finish;
use super::routes::{
    admin, bulk, carts, history, orders, reservations, restore, snapshots, sold, stock, stock_file, variants,
};
use super::site::Site;
use crate::app::House;
use crate::config::Loaded;
use axum::Router;
use axum::middleware::from_fn_with_state;
use axum::routing::get;
use std::sync::Arc;
use utoipa::openapi::OpenApi;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

/// Every route of the API.
fn api() -> OpenApiRouter<Arc<Site>> {
    OpenApiRouter::default()
        .routes(routes!(variants::create_variant, variants::list_variants))
        .routes(routes!(
            variants::get_variant,
            variants::change_variant,
            variants::delete_variant
        ))
        .routes(routes!(variants::pause_variant))
        .routes(routes!(variants::resume_variant))
        .routes(routes!(variants::drain_variant))
        .routes(routes!(stock::set_stock))
        .routes(routes!(stock::adjust_stock))
        .routes(routes!(stock::list_ledger))
        .routes(routes!(history::list_history))
        .routes(routes!(stock::get_availability))
        .routes(routes!(stock::get_availabilities))
        .routes(routes!(stock_file::import_stock))
        .routes(routes!(stock_file::export_stock))
        .routes(routes!(
            reservations::reserve,
            reservations::act_on_reservation,
            reservations::list_reservations,
            reservations::release_reservations
        ))
        .routes(routes!(reservations::get_statistics))
        .routes(routes!(reservations::clean_up))
        .routes(routes!(
            reservations::get_reservation,
            reservations::resize_reservation,
            reservations::release_reservation
        ))
        .routes(routes!(reservations::extend_reservation))
        .routes(routes!(reservations::confirm_reservation))
        .routes(routes!(
            reservations::validate_reservations,
            reservations::check_reservations
        ))
        .routes(routes!(bulk::bulk))
        .routes(routes!(reservations::sell))
        .routes(routes!(sold::fulfil_reservation))
        .routes(routes!(sold::cancel_reservation))
        .routes(routes!(sold::return_reservation))
        .routes(routes!(carts::create_cart))
        .routes(routes!(carts::get_cart, carts::delete_cart))
        .routes(routes!(carts::add_item))
        .routes(routes!(carts::add_item_to_cart))
        .routes(routes!(carts::change_item, carts::remove_item))
        .routes(routes!(carts::extend_cart))
        .routes(routes!(carts::merge_carts))
        .routes(routes!(carts::check_out_cart))
        .routes(routes!(orders::list_orders))
        .routes(routes!(orders::get_order))
        .routes(routes!(orders::confirm_order))
        .routes(routes!(orders::fail_order))
        .routes(routes!(orders::cancel_order))
        .routes(routes!(orders::fulfil_order))
        .routes(routes!(orders::return_order))
        .routes(routes!(orders::close_refund))
        .routes(routes!(admin::get_policy, admin::put_policy))
        .routes(routes!(admin::get_config))
        .routes(routes!(admin::get_status))
        .routes(routes!(admin::get_hot_variants))
        .routes(routes!(admin::list_quarantine))
        .routes(routes!(admin::rebuild_quarantined))
        .routes(routes!(restore::restore))
        .routes(routes!(restore::get_operation))
        .routes(routes!(snapshots::create_snapshot, snapshots::list_snapshots))
        .routes(routes!(snapshots::get_snapshot, snapshots::delete_snapshot))
        .routes(routes!(snapshots::verify_snapshot))
        .routes(routes!(admin::drain))
}

/// The OpenAPI document.
pub fn document() -> OpenApi {
    finish(api().into_openapi())
}

/// The document as it is served and printed.
///
/// # Panics
/// Never: the document is plain data.
pub fn document_json() -> String {
    document().to_pretty_json().expect("the document is plain data")
}

/// The routes of the public listener. The API asks for the key where one is configured; the pages about it do not. Where
/// none is, requests to foreign names are refused.
pub fn router(site: Site, around: Frame) -> Router {
    let (api, _) = api().split_for_parts();
    let (api, around) = guarded(api, &site.loaded, around);
    api.with_state(Arc::new(site))
        .merge(docs(document_json()))
        .layer(FrameLayer::new(around))
}

/// The routes while a restore is under way: how far it is, and the pages about the API. Whoever asks for anything else is told to
/// wait.
pub fn restoring(house: Arc<House>, loaded: &Loaded, around: Frame) -> Router {
    let operations = Router::new().route(
        "/api/admin/operations/{id}",
        get(restore::get_operation_meanwhile),
    );
    let (operations, around) = guarded(operations, loaded, around);
    let elsewhere = Router::new()
        .fallback(restore::restoring)
        .with_state(Arc::clone(&house));
    operations
        .with_state(house)
        .merge(docs(document_json()))
        .fallback_service(elsewhere)
        .layer(FrameLayer::new(around))
}

/// Asks for the key where one is configured, and refuses foreign names where none is.
fn guarded<S: Clone + Send + Sync + 'static>(
    routes: Router<S>,
    loaded: &Loaded,
    around: Frame,
) -> (Router<S>, Frame) {
    let key = loaded.config.auth.admin_key.as_ref();
    let key = key.map(|key| Arc::new(AdminKey::new(key.expose())));
    let around = Frame {
        own_names_only: key.is_none(),
        ..around
    };
    let routes = match key {
        None => routes,
        Some(key) => routes.route_layer(from_fn_with_state(key, require_key)),
    };
    (routes, around)
}
