//! The role `locker`: the locks that it may take, and everything else that it may not.

use super::server::{Client, Server};
use crate::shell::Place;
use cashbox::internals::http::routes::ROUTES;
use serde_json::{Value, json};

/// A server, and a locker of `jobs/`.
fn scene() -> (Server, Client) {
    let server = Server::start();
    server.admin().post("/v1/wallets/alice/recharge", json!({ "amount": 100 })).is(200);
    let (jobs, _) = server.mint(json!({ "role": "locker", "prefix": "jobs/" }));
    (server, jobs)
}

#[test]
fn locker_is_refused_every_route_but_those_of_locks() {
    let (server, jobs) = scene();
    let (all, _) = server.mint(json!({ "role": "locker" }));
    for route in ROUTES {
        let path = route.path.replace("{user}", "alice").replace("{code}", "CODE").replace("{name}", "locked");
        let path = path.replace("{id...}", "wallet/alice").replace("{id}", "1");
        for client in [&jobs, &all] {
            let answer = client.ask(route.method, &path).json("{}").send();
            match route.path {
                "/v1/me" | "/healthz" | "/problems/{name}" | "/openapi.json" | "/v1/locks" => {
                    assert!([200, 400, 428].contains(&answer.status), "{} {path}: {}", route.method, answer.json)
                }
                _ => _ = answer.refuses(403, "forbidden"),
            }
        }
    }
    let me = jobs.get("/v1/me").is(200);
    assert_eq!((&me["role"], &me["prefix"]), (&json!("locker"), &json!("jobs/")));
    let row = server.admin().get("/v1/tokens").is(200).rows().iter().find(|row| row["prefix"] == "jobs/").cloned();
    assert_eq!(row.unwrap()["role"], "locker");
}

#[test]
fn locker_takes_locks_under_its_prefix_alone() {
    let (server, jobs) = scene();
    let (all, _) = server.mint(json!({ "role": "locker" }));
    for id in ["jobs", "job", "Jobs/a", "other", "wallet/alice", "wallet%2Falice", "wallet/alice/x", "./jobs/a"] {
        for method in ["GET", "POST", "PATCH", "DELETE"] {
            let asking = jobs.ask(method, &format!("/v1/locks/{id}")).header("Lock-Token", "lk1.a.1.0123456789abcdef");
            asking.send().refuses(403, "forbidden");
        }
        jobs.get(&format!("/v1/locks/{id}/events")).refuses(403, "forbidden");
        jobs.get(&format!("/v1/locks/{id}?fence=1&wait_ms=1")).refuses(403, "forbidden");
    }
    for id in ["jobs/a", "jobs%2Fb", "jobs/c/d"] {
        let token = jobs.post(&format!("/v1/locks/{id}"), json!({ "ttl_ms": 30_000 })).is(201).text("token");
        jobs.ask("PATCH", &format!("/v1/locks/{id}")).header("Lock-Token", &token).send().is(200);
        jobs.ask("DELETE", &format!("/v1/locks/{id}")).header("Lock-Token", &token).send().is(204);
        assert_eq!(jobs.get(&format!("/v1/locks/{id}/events")).is(200).rows().len(), 2);
        jobs.post(&format!("/v1/locks/{id}/revoke"), json!({ "fence": 1 })).refuses(403, "forbidden");
    }
    jobs.post("/v1/locks", json!({ "ids": ["jobs/a", "other"] })).refuses(403, "forbidden");
    all.post("/v1/locks", json!({ "ids": ["jobs/a", "wallet/alice"] })).refuses(403, "forbidden");
    all.post("/v1/locks/wallet/alice", json!({})).refuses(403, "forbidden");
    let token = all.post("/v1/locks", json!({ "ids": ["jobs/a", "other"] })).is(201).text("token");
    for method in ["PATCH", "DELETE"] {
        let asking = jobs.ask(method, "/v1/locks").header("Lock-Token", &token);
        asking.send().refuses(403, "forbidden");
    }
    all.ask("PATCH", "/v1/locks").header("Lock-Token", &token).send().is(200);
    let both = server.admin().post("/v1/locks", json!({ "ids": ["stock", "wallet/alice"] })).is(201).text("token");
    all.ask("DELETE", "/v1/locks").header("Lock-Token", &both).send().refuses(403, "forbidden");
    all.ask("DELETE", "/v1/locks").header("Lock-Token", &token).send().is(204);
}

#[test]
fn list_shows_locker_only_what_it_could_take() {
    let (server, jobs) = scene();
    let (all, _) = server.mint(json!({ "role": "locker" }));
    for id in ["jobs/a", "jobs/b", "jobsx", "other", "wallet/alice"] {
        server.admin().post(&format!("/v1/locks/{id}"), json!({})).is(201);
    }
    let ids = |client: &Client, query: &str| -> Vec<Value> {
        let answer = client.get(&format!("/v1/locks?{query}")).is(200);
        answer.rows().iter().map(|row| row["id"].clone()).collect()
    };
    assert_eq!(ids(&jobs, ""), ["jobs/a", "jobs/b"]);
    assert_eq!(ids(&jobs, "prefix=j"), ["jobs/a", "jobs/b"]);
    assert_eq!(ids(&jobs, "prefix=jobs/b&state=held"), ["jobs/b"]);
    assert_eq!((ids(&jobs, "prefix=other"), ids(&jobs, "prefix=wallet/")), (vec![], vec![]));
    assert_eq!(ids(&all, ""), ["jobs/a", "jobs/b", "jobsx", "other"]);
    assert_eq!(ids(&all, "prefix=wallet/"), Vec::<Value>::new());
    assert_eq!(ids(&server.admin(), "").len(), 5);
    let first = jobs.get("/v1/locks?limit=1").is(200);
    assert_eq!(first.rows()[0]["id"], "jobs/a");
    assert_eq!(ids(&jobs, &format!("after={}", first.text("next"))), ["jobs/b"]);
}

#[test]
fn run_at_url_needs_no_more_than_locker() {
    let place = Place::new();
    std::fs::write(place.path("token"), "cbx_0123456789abcdef\n").unwrap();
    let server = place.serve("--token-file token");
    let admin = format!("--url {} --token-file token", server.url);
    let minted = place.json(&format!("token create --role locker --prefix jobs/ --note cron {admin}"));
    assert_eq!((&minted["role"], &minted["prefix"]), (&json!("locker"), &json!("jobs/")));
    std::fs::write(place.path("jobs-token"), minted["token"].as_str().unwrap()).unwrap();
    let jobs = format!("--url {} --token-file jobs-token", server.url);
    let ran = place.run(&format!("lock run jobs/nightly --wait 5s {jobs} -- printenv CASHBOX_LOCK_ID"));
    assert_eq!((ran.exit, ran.out.trim()), (0, "jobs/nightly"), "{}", ran.err);
    let refused = place.run(&format!("lock run other {jobs} -- true"));
    assert_eq!(refused.exit, 125, "{}", refused.err);
    assert!(refused.err.contains("locks that begin with jobs/"), "{}", refused.err);
    assert_eq!(place.run(&format!("lock run wallet/alice {jobs} -- true")).exit, 125);
    assert_eq!(place.run(&format!("recharge alice 1 {jobs}")).exit, 1);
    assert_eq!(place.run(&format!("lock list {jobs}")).exit, 0);
}
