//! `GET /`: the status page, for people: one self-contained document that answers what an operator asks at night. It is
//! made on the server, so that it works without JavaScript; its script only asks for it again and puts the new one in place.
//!
//! Its policy (CSP Level 3) names the style and the script by their digests: nothing that a value could smuggle in runs.
mod attention;
mod facts;
mod figures;
mod history;
mod issuers;
mod page;
#[cfg(test)]
mod tests;

use std::sync::LazyLock;

use aws_lc_rs::digest::{SHA256, digest};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::{HeaderMap, HeaderName, HeaderValue, Response, header};
use maud::Markup;

pub use crate::edge::admin::status::history::History;
use crate::edge::admin::{
    AdminApp,
    access::Denial,
    denied, response,
    status::{
        facts::Facts,
        page::{SCRIPT, STYLE, page, sign_in},
    },
};

/// Fetch's own protection of responses: no page of another origin may embed this one.
const RESOURCE_POLICY: HeaderName = HeaderName::from_static("cross-origin-resource-policy");

static POLICY: LazyLock<String> = LazyLock::new(|| {
    let hash = |text: &str| STANDARD.encode(digest(&SHA256, text.as_bytes()));
    format!(
        "default-src 'none'; style-src 'sha256-{}'; script-src 'sha256-{}'; img-src data:; connect-src 'self'; base-uri 'none'; \
         form-action 'none'; frame-ancestors 'none'",
        hash(STYLE),
        hash(SCRIPT)
    )
});

/// The page as things are now.
pub(super) fn answer(app: &AdminApp) -> Response<Vec<u8>> {
    let facts = Facts::gather(app, &app.history.traffic);
    let mut answer = response(200, "text/html; charset=utf-8", Vec::new());
    put(&mut answer, &page(&facts));
    answer
}

/// What a browser gets that has not said a token yet: the refusal, as a page where one can be typed in.
pub(super) fn refusal(denial: Denial, headers: &HeaderMap) -> Response<Vec<u8>> {
    let mut refusal = denied(denial);
    let accepts = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    if denial.is_about_the_token() && accepts.into_iter().any(|accepted| accepted.contains("text/html")) {
        refusal.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
        put(&mut refusal, &sign_in());
    }
    refusal
}

fn put(answer: &mut Response<Vec<u8>>, page: &Markup) {
    *answer.body_mut() = page.0.clone().into_bytes();
    let length = answer.body().len();
    let headers = answer.headers_mut();
    headers.insert(header::CONTENT_LENGTH, length.into());
    if let Ok(policy) = HeaderValue::from_str(&POLICY) {
        headers.insert(header::CONTENT_SECURITY_POLICY, policy);
    }
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.insert(RESOURCE_POLICY, HeaderValue::from_static("same-origin"));
}
