//! `holdfast import`, `export` and `variant history` as an operator meets them: against a running server, and against the
//! data directory it left.
use crate::server::Server;
use serde_json::Value;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Output, Stdio};

fn holdfast(arguments: &[&str], stdin: &str) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_holdfast"))
        .env_clear()
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // A command that needs no input may have ended already.
    let _ = child.stdin.take().unwrap().write_all(stdin.as_bytes());
    child.wait_with_output().unwrap()
}

/// Exit code, stdout, stderr.
fn told(output: &Output) -> (i32, &str, &str) {
    let text = |bytes| std::str::from_utf8(bytes).unwrap();
    (
        output.status.code().unwrap(),
        text(&output.stdout),
        text(&output.stderr),
    )
}

fn write(path: &Path, text: &str) -> String {
    fs::write(path, text).unwrap();
    path.display().to_string()
}

#[test]
fn lists_and_stories_from_the_command_line() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let server = Server::start(&data, &[]);
    let url = format!("http://{}", server.api());
    let list = write(
        &folder.path().join("shop.csv"),
        "id,name,onHand\nsoap,Soap,10\ncup,Cup,3\n",
    );

    let dry = holdfast(&["import", &list, "--dry-run", "--url", &url], "");
    let (code, out, err) = told(&dry);
    assert_eq!(code, 4, "{out}{err}");
    assert!(out.contains("LINE  VARIANT  MEMBER"), "{out}");
    assert!(err.contains("it would create 2 and change 0 variants"), "{err}");
    let next = format!("next: holdfast import {list} --url {url}\n");
    assert!(err.contains(&next), "{err}");

    let done = holdfast(&["import", &list, "--url", &url], "");
    let (code, out, err) = told(&done);
    assert_eq!((code, err), (0, ""), "no bar without a terminal: {out}");
    assert_eq!(out, "created    2\nchanged    0\nunchanged  0\nfailed     0\n");
    let again = holdfast(&["import", &list, "--dry-run", "--url", &url], "");
    assert_eq!(told(&again).0, 0, "nothing would change");

    let wrong = write(
        &folder.path().join("wrong.csv"),
        "id,onHand\nsoap,-1\nsoap,1\ncup,2\ncup,2\n",
    );
    let refused = holdfast(&["import", &wrong, "--url", &url], "");
    let (code, out, err) = told(&refused);
    assert_eq!((code, out), (1, ""));
    assert!(
        err.contains(&format!(
            "{wrong}:2: onHand: expected a whole number from 0 to 1000000000000"
        )),
        "{err}"
    );
    assert!(
        err.contains(&format!("{wrong}:5: id: cup stands on line 4 too")),
        "{err}"
    );
    assert!(err.contains("nothing was done"), "{err}");

    let key = [
        "import", "-", "--format", "ndjson", "--key", "k", "--json", "--url", &url,
    ];
    for _ in 0..2 {
        let done = holdfast(
            &key,
            "{\"id\":\"soap\",\"delta\":-9}\n{\"id\":\"cup\",\"delta\":-9}\n",
        );
        let (code, out, err) = told(&done);
        assert_eq!(code, 1, "one line was refused: {err}");
        let answer: Value = serde_json::from_str(out).unwrap();
        assert_eq!(
            (&answer["changed"], &answer["lines"][0]["code"]),
            (&1.into(), &"below-held".into())
        );
    }
    let unknown = holdfast(&["import", "-", "--url", &url], "");
    assert_eq!(told(&unknown).0, 2, "the form of standard input has to be said");
    let short = write(&folder.path().join("short.csv"), "id,delta\ncup,5\nsoap,-9\n");
    let atomic = holdfast(&["import", &short, "--atomic", "--url", &url], "");
    let (code, out, err) = told(&atomic);
    assert_eq!((code, out), (1, ""), "{err}");
    let below = format!("{short}:3: soap: The stock level would fall below");
    assert!(err.contains(&below) && err.contains("nothing was done"), "{err}");
    let longer = write(&folder.path().join("short.csv"), "id,delta\ncup,5\nsoap,0\n");
    let dry = holdfast(&["import", &longer, "--atomic", "--dry-run", "--url", &url], "");
    assert!(told(&dry).2.contains("short.csv --atomic"), "{dry:?}");
    let atomic = holdfast(&["import", &longer, "--atomic", "--url", &url], "");
    assert_eq!(
        (told(&atomic).0, told(&atomic).1),
        (0, "created    0\nchanged    1\nunchanged  1\nfailed     0\n")
    );

    let online = holdfast(&["export", "--url", &url], "");
    let (code, csv, err) = told(&online);
    assert_eq!((code, err), (0, ""));
    assert!(csv.contains("\r\nsoap,,,Soap,,,,1,"), "{csv}");
    let file = folder.path().join("out.ndjson");
    let saved = holdfast(&["export", "--output", file.to_str().unwrap(), "--url", &url], "");
    assert_eq!(told(&saved).0, 0, "{saved:?}");
    let saved = fs::read_to_string(&file).unwrap();
    assert_eq!(
        (saved.lines().count(), saved.starts_with("{\"id\":\"cup\"")),
        (2, true)
    );
    assert_eq!(
        fs::read_dir(folder.path()).unwrap().count(),
        6,
        "no half of a file is left"
    );

    let story = holdfast(&["variant", "history", "soap", "--url", &url], "");
    let (code, online_story, err) = told(&story);
    assert_eq!(code, 0, "{err}");
    assert!(online_story.contains("on hand            1\n"), "{online_story}");
    assert!(online_story.contains("variant.stock"), "{online_story}");
    let none = holdfast(&["variant", "history", "none", "--url", &url], "");
    assert_eq!(told(&none).0, 1);

    server.kill();
    let data = data.display().to_string();
    let offline = holdfast(&["export", "--data-dir", &data], "");
    assert_eq!(
        (told(&offline).0, told(&offline).1),
        (0, csv),
        "the same from the data directory"
    );
    let story = holdfast(
        &[
            "variant",
            "history",
            "soap",
            "--at-number",
            "4",
            "--data-dir",
            &data,
        ],
        "",
    );
    let (code, out, err) = told(&story);
    assert_eq!(code, 0, "{err}");
    assert!(out.contains("behind record      4\n"), "{out}");
    let gone = holdfast(&["import", &list, "--url", &url], "");
    let (code, _, err) = told(&gone);
    assert_eq!(code, 6, "{err}");
    assert!(err.contains("next: holdfast import"), "how to go on: {err}");
}

/// A server may refuse at a look at the request's head, and closes the connection then: whoever sends on regardless meets a
/// broken pipe instead of the reason. Happened with `--atomic` on a loaded machine.
#[test]
fn a_refusal_before_the_list_was_sent_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let mut lines = String::from("id,name\n");
    for number in 0..1_000_000 {
        lines.push_str(&format!("{number},Cup\n"));
    }
    let list = write(&folder.path().join("shop.csv"), &lines);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let server = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte).unwrap();
            head.push(byte[0]);
        }
        let body = r#"{"code":"draining","detail":"The server is stopping."}"#;
        let told = format!(
            "HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        stream.write_all(told.as_bytes()).unwrap();
    });
    let refused = holdfast(&["import", &list, "--url", &url], "");
    server.join().unwrap();
    let (code, out, err) = told(&refused);
    assert_eq!((code, out), (1, ""), "{err}");
    assert!(err.contains("The server is stopping. (draining, 503)"), "{err}");
}
