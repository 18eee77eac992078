//! What would change a refusal: one sentence for each, for whoever has to do something about it.
use crate::gate::rejection::Rejection;

/// What would cure a refusal.
pub(super) const fn cure(rejection: Rejection) -> &'static str {
    match rejection {
        Rejection::RequestMalformed => {
            "send a request that HTTP allows: one Host, one framing field, a method in capitals"
        }
        Rejection::UriTooLong => "send a shorter target, or raise `limits.uri_bytes`",
        Rejection::HeaderTooLarge => {
            "send fewer or shorter header fields, or raise `limits.headers` or `limits.header_bytes`"
        }
        Rejection::BodyTooLarge => "send a shorter body, or raise `limits.body_bytes` of the route or of all",
        Rejection::PathAmbiguous => {
            "send the path as every server reads it; where the upstream is known to read it one way, say so in the \
             route's `paths`"
        }
        Rejection::HeaderForbidden => "leave the protected name out of `Connection`",
        Rejection::Misdirected => {
            "send it on a connection that was made for this host: another certificate was asked for"
        }
        Rejection::RouteNotFound => "add a route for this listener, host and path, or ask for one that there is",
        Rejection::MethodNotAllowed => "use one of the methods in `Allow`, or add this one to `methods`",
        Rejection::AddressDenied => {
            "come from an address that the route's `addresses` admit; an explanation is told one by `--address`"
        }
        Rejection::RateLimited => "wait as long as `Retry-After` says",
        Rejection::CsrfRejected => {
            "have a page of the same origin send it, list the page's origin in `csrf.origins`, or send the token in a \
             header"
        }
        Rejection::TokenRepeated => "send one token, in one place",
        Rejection::TokenMissing => "send a token where the route looks for one",
        Rejection::TokenTooLarge => "get a smaller token, or raise `limits.token_bytes`",
        Rejection::TokenMalformed => "send a whole, signed JWT: an opaque token or a cut one is none",
        Rejection::IssuerUnknown => "get a token of one of the route's issuers, or add the issuer to the route",
        Rejection::TypeNotAllowed => "send an access token and not an ID token, or add its type to `token_types`",
        Rejection::CriticalHeader => "have the issuer leave `crit`, `b64` and `zip` out of the token's header",
        Rejection::AlgorithmNotAllowed => {
            "have the issuer sign with an allowed algorithm, or add this one to `algorithms`"
        }
        Rejection::KeysUnavailable => {
            "see that the issuer's keys can be fetched: `GET /issuers` of the admin address has the error"
        }
        Rejection::KeyUnknown => "get a token that is signed with a key that the issuer publishes",
        Rejection::SignatureInvalid => {
            "get a token of this very issuer: another key signed this one, or it was changed"
        }
        Rejection::ClaimMissing => "have the issuer put the claim into its tokens, or take it out of `required_claims`",
        Rejection::ClaimInvalid => "have the issuer make the claim what it must be",
        Rejection::TokenExpired => "get a new token; when it is new, compare the clocks",
        Rejection::TokenNotYetValid => "wait, or compare the clocks; `leeway` forgives small differences",
        Rejection::LifetimeExceeded => "have the issuer make tokens that live shorter, or raise `max_lifetime`",
        Rejection::AudienceMismatch => "get a token for this audience, or add the token's to `audiences`",
        Rejection::TokenRevoked => "log in again; `portcullis revocations` has the entry",
        Rejection::SubjectRevoked => {
            "if the subject may come back, take the entry out of the list that it is from, or back with `portcullis \
             unrevoke` where it was made by hand"
        }
        Rejection::RevocationsUnavailable => "see that the list of revocations can be had",
        Rejection::PrincipalMismatch => "send a token of the other kind: of a user, or of a client by itself",
        Rejection::ScopeInsufficient => "ask the issuer for a token with the missing scope",
        Rejection::RoleMissing => "have the identity provider grant the missing role, and get a new token",
        Rejection::ClaimMismatch => "nothing but another identity: its claims are not what the route requires",
        Rejection::StepUpRequired => "authenticate again, as the challenge asks",
        Rejection::RequestTimeout => "send the request in time",
        Rejection::UpstreamUnreachable | Rejection::UpstreamUnhealthy | Rejection::UpstreamTimeout => {
            "see to the upstream"
        }
        Rejection::Overloaded => "try again later, or raise `limits.connections`",
        Rejection::Internal => "this is a fault of portcullis: please report it",
    }
}
