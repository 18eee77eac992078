//! Header names by which other gateways tell services who is calling, and by which frameworks let a client replace
//! method or path.
//!
//! A service that once stood behind one of them may still believe its header, so all of them leave every request.
//! Names are facts from the products' documentation. A trailing `*` stands for anything.

/// Identity headers of other gateways; `identity.insecure_keep_known_identity_headers` lets them pass.
pub const IDENTITY: &[&str] = &[
    // oauth2-proxy, nginx auth_request, Pomerium, Vouch
    "X-Auth-Request-*",
    "X-Pomerium-*",
    "X-Vouch-*",
    // Kong, APISIX
    "X-Consumer-*",
    "X-Credential-*",
    "X-Anonymous-Consumer",
    "X-Authenticated-*",
    "X-Userinfo",
    "X-ID-Token",
    // Envoy and Istio
    "X-Envoy-*",
    "X-JWT-Payload",
    "Sec-Istio-Auth-Userinfo",
    // Google, AWS, Azure, Cloudflare, Tailscale
    "X-Goog-*",
    "X-Appengine-*",
    "X-Apigateway-Api-Userinfo",
    "X-Endpoint-Api-Userinfo",
    "X-Amzn-Oidc-*",
    "X-Amzn-Mtls-*",
    "X-MS-Client-Principal*",
    "X-MS-Token-*",
    "Cf-Access-*",
    "Tailscale-*",
    // Authelia, authentik, SiteMinder, web servers, Grafana, Kubernetes
    "Remote-User*",
    "Remote-Group*",
    "Remote-Email",
    "Remote-Name",
    "Remote-Role*",
    "X-Remote-User*",
    "X-Remote-Group*",
    "X-Remote-Extra*",
    "X-Authentik-*",
    "SM-User*",
    "SM-Universalid",
    "X-WEBAUTH-*",
    "Impersonate-*",
    // Client certificates, seen by whoever ended TLS (RFC 9440)
    "Client-Cert*",
    "X-Client-Cert*",
    "X-Client-DN",
    "X-Client-Verify",
    "X-SSL-*",
    "SSL-Client-*",
    "X-TLS-Client-*",
    "X-ARR-ClientCert",
    // Home-made gateways
    "X-User",
    "X-User-ID",
    "X-User-Name",
    "X-User-Email",
    "X-User-Role",
    "X-User-Roles",
    "X-User-Groups",
    "X-User-Scopes",
    "X-Email",
    "X-Role",
    "X-Roles",
    "X-Groups",
    "X-Tenant-ID",
];

/// Identity headers of other gateways among the `X-Forwarded-*`, which the gate otherwise keeps for itself.
pub const FORWARDED_IDENTITY: &[&str] = &[
    "X-Forwarded-User",
    "X-Forwarded-Email",
    "X-Forwarded-Groups",
    "X-Forwarded-Preferred-Username",
    "X-Forwarded-Access-Token",
    "X-Forwarded-Client-Cert",
];

/// Headers by which a client could replace what was judged; they leave whatever the configuration says.
pub const OVERRIDES: &[&str] = &[
    "X-HTTP-Method-Override",
    "X-HTTP-Method",
    "X-Method-Override",
    "X-Original-*",
    "X-Rewrite-URL",
    "X-Host",
    "X-HTTP-Host-Override",
    "X-Override-URL",
    // Python servers take the beginning of the path from them, or all of it.
    "Script-Name",
    "X-Script-Name",
    "Path-Info",
    // Makes Next.js pass over the middleware that checks who is calling (CVE-2025-29927).
    "X-Middleware-Subrequest*",
    // CGI turns it into HTTP_PROXY, through which a service would send its own requests (CVE-2016-5385).
    "Proxy",
];

/// Headers that the gateway writes itself; a client's are believed from trusted proxies only.
pub const WRITTEN: &[&str] = &["Forwarded", "X-Forwarded*", "X-Real-IP", "X-Request-ID", "Traceparent", "Tracestate"];

/// Headers that must reach the upstream under their own name only.
pub const PLAIN_ONLY: &[&str] =
    &["Host", "Authorization", "Cookie", "Content-Length", "Transfer-Encoding", "Connection", "Content-Type", "Via"];
