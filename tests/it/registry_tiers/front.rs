//! A server in front of a registry that records calls and injects faults.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use crate::polling::await_true;

/// A fault that replaces the normal handling of a call.
#[derive(Debug, Clone)]
pub(crate) enum Fault {
    /// Answers with this status line and headers, and this body.
    Answer(&'static str, &'static str),
    /// Closes the connection in the middle of the answer.
    Reset,
    /// Changes the last byte of the answer.
    Corrupt,
    /// Stops in the middle of the answer and leaves the connection open.
    Stall,
    /// Closes the connection after the call was read, without forwarding it.
    Lost,
    /// Closes the connection after half of the body of the call was forwarded.
    Cut,
}

/// Which calls fail, how, and how often.
#[derive(Debug, Clone)]
pub(crate) struct FaultRule {
    method: &'static str,
    path: &'static str,
    fault: Fault,
    times: usize,
}

/// A recorded call.
#[derive(Debug, Clone)]
pub(crate) struct RecordedCall {
    pub(crate) method: String,
    pub(crate) path: String,
    /// The size of the answer in bytes, including its head.
    pub(crate) answered: usize,
    /// The size of the request in bytes, including its head.
    pub(crate) sent: usize,
    /// The body of a call that the front answered itself.
    pub(crate) body: String,
    /// When the call arrived, and when it was answered.
    pub(crate) times: (Instant, Instant),
}

/// Returns the largest number of calls of which each began after the previous one had ended.
pub(crate) fn longest_sequence(calls: &[RecordedCall]) -> usize {
    let mut times: Vec<(Instant, Instant)> = calls.iter().map(|call| call.times).collect();
    times.sort_by_key(|(_, ended)| *ended);
    let mut last = None;
    times
        .into_iter()
        .filter(|(begun, ended)| {
            let follows = last.is_none_or(|last| last <= *begun);
            if follows {
                last = Some(*ended);
            }
            follows
        })
        .count()
}

/// A running front. It ends with the process of the tests.
pub(crate) struct RegistryProxy {
    pub(crate) host: String,
    rules: Arc<Mutex<Vec<FaultRule>>>,
    seen: Arc<Mutex<Vec<RecordedCall>>>,
    begun: Arc<Mutex<Vec<String>>>,
    open: Arc<AtomicUsize>,
    delay: Arc<Mutex<Duration>>,
}

impl RegistryProxy {
    /// Starts a front for the registry at `target` (`HOST:PORT`).
    pub(crate) fn before(target: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let host = listener.local_addr().unwrap().to_string();
        let front = Self {
            host,
            rules: Arc::default(),
            seen: Arc::default(),
            begun: Arc::default(),
            open: Arc::default(),
            delay: Arc::default(),
        };
        let delay = Arc::clone(&front.delay);
        let (begun, open) = (Arc::clone(&front.begun), Arc::clone(&front.open));
        let (target, rules, seen) = (target.to_owned(), Arc::clone(&front.rules), Arc::clone(&front.seen));
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let (target, rules, seen) = (target.clone(), Arc::clone(&rules), Arc::clone(&seen));
                let (begun, open) = (Arc::clone(&begun), Arc::clone(&open));
                let delay = *delay.lock().unwrap();
                open.fetch_add(1, Ordering::SeqCst);
                thread::spawn(move || {
                    // The client reports a broken connection.
                    drop(serve(&client, &target, (&rules, delay), &seen, &begun));
                    open.fetch_sub(1, Ordering::SeqCst);
                });
            }
        });
        front
    }

    /// Makes the next `times` calls of `method` whose path contains `path` fail. Methods are separated by `|`.
    pub(crate) fn fail(&self, method: &'static str, path: &'static str, fault: Fault, times: usize) {
        self.rules.lock().unwrap().push(FaultRule { method, path, fault, times });
    }

    /// Delays each later call, and its answer, by `delay`.
    pub(crate) fn delay(&self, delay: Duration) {
        *self.delay.lock().unwrap() = delay;
    }

    /// Removes all faults.
    pub(crate) fn heal(&self) {
        self.rules.lock().unwrap().clear();
    }

    /// Returns the first lines of all calls since the last use of this method, answered or not.
    pub(crate) fn begun(&self) -> Vec<String> {
        std::mem::take(&mut self.begun.lock().unwrap())
    }

    /// Returns the list of the first lines of calls, which grows while calls are made.
    pub(crate) fn begun_handle(&self) -> Arc<Mutex<Vec<String>>> {
        Arc::clone(&self.begun)
    }

    /// Returns the answered calls since the last use of this method.
    pub(crate) fn seen(&self) -> Vec<RecordedCall> {
        // A call is recorded after it was answered, when its client may already have continued.
        await_true(Duration::from_secs(10), "all calls are recorded", || {
            self.open.load(Ordering::SeqCst) == 0
        });
        std::mem::take(&mut self.seen.lock().unwrap())
    }
}

fn serve(
    client: &TcpStream,
    target: &str,
    (rules, delay): (&Mutex<Vec<FaultRule>>, Duration),
    seen: &Mutex<Vec<RecordedCall>>,
    begun: &Mutex<Vec<String>>,
) -> io::Result<()> {
    let mut reader = BufReader::new(client.try_clone()?);
    // A TLS handshake gets the answer of a server that speaks only plain HTTP.
    if reader.fill_buf()?.first() == Some(&0x16) {
        return (&mut &*client).write_all(b"HTTP/1.1 400 Bad Request\r\nconnection: close\r\n\r\n");
    }
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        if reader.read_until(b'\n', &mut head)? == 0 {
            return Ok(());
        }
    }
    let text = String::from_utf8_lossy(&head).into_owned();
    let arrived = Instant::now();
    thread::sleep(delay);
    begun.lock().unwrap().push(text.lines().next().unwrap_or_default().to_owned());
    let mut words = text.split(' ');
    let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let fault = {
        let mut rules = rules.lock().unwrap();
        let rule = rules.iter_mut().find(|rule| {
            rule.times > 0 && rule.method.split('|').any(|one| one == method) && path.contains(rule.path)
        });
        rule.map(|rule| {
            rule.times -= 1;
            rule.fault.clone()
        })
    };
    let note = |sent, answered, body| {
        let (method, path) = (method.to_owned(), path.to_owned());
        let times = (arrived, Instant::now());
        seen.lock().unwrap().push(RecordedCall { method, path, answered, sent, body, times });
    };
    if let Some(Fault::Answer(head, body)) = fault {
        // The whole call is read first. Otherwise the client may see a reset instead of the answer.
        let length = length_of(&text);
        let mut sent = Vec::new();
        reader.take(length).read_to_end(&mut sent)?;
        note(text.len(), body.len(), String::from_utf8_lossy(&sent).into_owned());
        let more = format!("content-length: {}\r\nconnection: close\r\n\r\n{body}", body.len());
        return (&mut &*client).write_all(format!("HTTP/1.1 {head}\r\n{more}").as_bytes());
    }
    if let Some(Fault::Lost) = fault {
        io::copy(&mut reader.take(length_of(&text)), &mut io::sink())?;
        return client.shutdown(Shutdown::Both);
    }
    let mut upstream = TcpStream::connect(target)?;
    let (first, rest) = text.split_once("\r\n").unwrap_or((&text, ""));
    let rest: Vec<&str> =
        rest.split("\r\n").filter(|line| !line.to_lowercase().starts_with("connection:")).collect();
    upstream.write_all(format!("{first}\r\nConnection: close\r\n{}", rest.join("\r\n")).as_bytes())?;
    if let Some(Fault::Cut) = fault {
        // If the length of the body is not stated, half of it is the part that has arrived.
        let half = if text.to_lowercase().contains("transfer-encoding: chunked") {
            u64::try_from(reader.fill_buf()?.len()).unwrap_or_default()
        } else {
            length_of(&text) / 2
        };
        let passed = io::copy(&mut reader.take(half), &mut upstream)?;
        note(text.len() + usize::try_from(passed).unwrap_or_default(), 0, String::new());
        upstream.shutdown(Shutdown::Both)?;
        return client.shutdown(Shutdown::Both);
    }
    let mut sending = upstream.try_clone()?;
    let body = thread::spawn(move || io::copy(&mut reader, &mut sending).unwrap_or_default());
    let mut answer = Vec::new();
    upstream.read_to_end(&mut answer)?;
    match fault {
        Some(Fault::Reset) => {
            answer.truncate(answer.len() - answer.len().min(8));
        }
        Some(Fault::Corrupt) => {
            if let Some(last) = answer.last_mut() {
                *last ^= 1;
            }
        }
        _ => {}
    }
    if let Some(Fault::Stall) = fault {
        (&mut &*client).write_all(&answer[..answer.len() - answer.len().min(8)])?;
        // Until the client gives up, or all faults are removed.
        client.set_read_timeout(Some(Duration::from_millis(100)))?;
        while !rules.lock().unwrap().is_empty() && !is_closed((&mut &*client).read(&mut [0])) {}
        return client.shutdown(Shutdown::Both);
    }
    thread::sleep(delay);
    (&mut &*client).write_all(&answer)?;
    client.shutdown(Shutdown::Both)?;
    let sent = text.len() + usize::try_from(body.join().unwrap_or_default()).unwrap_or_default();
    note(sent, answer.len(), String::new());
    Ok(())
}

/// Returns `true` if the other side closed the connection.
fn is_closed(read: io::Result<usize>) -> bool {
    match read {
        Ok(bytes) => bytes == 0,
        Err(error) => !matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut),
    }
}

fn length_of(head: &str) -> u64 {
    let lower = head.to_lowercase();
    let line = lower.lines().find_map(|line| line.strip_prefix("content-length:"));
    line.and_then(|value| value.trim().parse().ok()).unwrap_or_default()
}
