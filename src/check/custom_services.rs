//! `customServices`: containers that run beside Jupyter.

use std::collections::HashMap;

use super::resource::{Resource, get, one_of};
use crate::request::document::Node;

const RULE: &str = "custom-services";

/// Checks all of them.
pub fn check(services: Node<'_>, out: &mut Resource<'_>) {
    let Some(list) = services.elements() else {
        return out.wrong_type(RULE, services, "`customServices`", "an array");
    };
    let mut published = HashMap::new();
    for service in list {
        if service.members().is_none() {
            out.wrong_type(RULE, service, "custom service", "an object");
            continue;
        }
        if get(service, "name").is_none_or(|name| name.is_null() || name.string().is_some_and(|name| name.is_empty())) {
            out.refuse(RULE, service, "custom service has no `name`", "give it one");
        }
        image(service, out);
        for endpoint in list_of(service, "endpoints", out) {
            for name in ["target", "published"] {
                port(endpoint, name, &mut published, out);
            }
            if let (Some(text), Some(at)) = (out.text(endpoint, "protocol"), out.member(endpoint, "protocol")) {
                one_of(out, RULE, at, "protocol", &text, &["tcp", "udp", "http"]);
            }
        }
        for volume in list_of(service, "volumes", out) {
            if let (Some(text), Some(at)) = (out.text(volume, "type"), out.member(volume, "type")) {
                one_of(out, RULE, at, "type", &text, &["bind", "volume", "tmpfs", "npipe"]);
            }
        }
    }
}

fn image(service: Node<'_>, out: &mut Resource<'_>) {
    let Some(image) = out.member(service, "image") else {
        if get(service, "image").is_none_or(Node::is_null) {
            out.refuse(
                RULE,
                service,
                "custom service has no `image`",
                "write `\"image\": {\"type\": \"docker\", \"reference\": \"…\"}`",
            );
        }
        return;
    };
    if let (Some(text), Some(at)) = (out.text(image, "type"), out.member(image, "type")) {
        one_of(out, RULE, at, "type", &text, &["docker", "azureml"]);
    }
    let reference = get(image, "reference");
    if reference.is_none_or(|node| node.is_null() || node.raw() == "\"\"") {
        out.refuse(
            RULE,
            reference.unwrap_or(image),
            "`image` has no `reference`",
            "name the image: `ghcr.io/owner/image:tag`",
        );
    }
}

fn port(endpoint: Node<'_>, name: &'static str, published: &mut HashMap<i64, usize>, out: &mut Resource<'_>) {
    let Some(at) = out.member(endpoint, name) else {
        if get(endpoint, name).is_none_or(Node::is_null) {
            out.refuse(RULE, endpoint, format!("endpoint has no `{name}`"), format!("write `\"{name}\": 8787`"));
        }
        return;
    };
    let number = at.raw().parse::<i64>().ok();
    match number {
        Some(number) if (1026..65535).contains(&number) => {
            if name == "published" && published.insert(number, at.offset()).is_some() {
                out.refuse(
                    RULE,
                    at,
                    format!("port {number} is published twice"),
                    "give each endpoint a port of its own",
                );
            }
        }
        Some(number) => {
            out.refuse(RULE, at, format!("`{name}` is {number}"), "a port is larger than 1025 and smaller than 65535");
        }
        None => out.wrong_type(RULE, at, &format!("`{name}`"), "a number"),
    }
}

fn list_of<'n>(service: Node<'n>, name: &str, out: &mut Resource<'_>) -> Vec<Node<'n>> {
    let Some(list) = out.member(service, name) else { return Vec::new() };
    list.elements().unwrap_or_else(|| {
        out.wrong_type(RULE, list, &format!("`{name}`"), "an array");
        Vec::new()
    })
}
