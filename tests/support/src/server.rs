//! An HTTP server on loopback that can misbehave.

use std::{
    collections::BTreeMap,
    io::{self, BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Mutex},
    thread,
    time::Duration,
};

/// An HTTP request.
#[derive(Clone, Debug)]
pub struct Request {
    /// `GET`, `HEAD`, `CONNECT`.
    pub method: String,
    /// The path, or the address of a `CONNECT`.
    pub path: String,
    /// Headers with lower-case names.
    pub headers: BTreeMap<String, String>,
}

/// An HTTP response.
#[derive(Clone, Debug, Default)]
pub struct Reply {
    status: u16,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
    /// Bytes of the body after which sending stops.
    stop: Option<usize>,
    /// Keep the connection open after sending stopped.
    stall: bool,
    /// Omit `Content-Length`.
    no_length: bool,
    /// Repeat the body forever.
    endless: bool,
    /// Bytes sent after the body.
    surplus: usize,
}

impl Reply {
    /// A response without a body.
    pub fn status(status: u16) -> Self {
        Self { status, ..Self::default() }
    }

    /// A file, or the requested range of it.
    pub fn file(content: &[u8], request: &Request) -> Self {
        let range = request.headers.get("range").and_then(|range| {
            range.strip_prefix("bytes=")?.strip_suffix('-')?.parse::<usize>().ok()
        });
        match range {
            None => Self { status: 200, body: content.to_vec(), ..Self::default() },
            Some(start) if start >= content.len() => Self::status(416),
            Some(start) => {
                let (end, all) = (content.len() - 1, content.len());
                Self { status: 206, body: content[start..].to_vec(), ..Self::default() }
                    .with("Content-Range", format!("bytes {start}-{end}/{all}"))
            }
        }
    }

    /// Adds a header.
    pub fn with(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.to_owned(), value.into()));
        self
    }

    /// Closes the connection after `bytes` of the body.
    pub fn cut_after(self, bytes: usize) -> Self {
        Self { stop: Some(bytes), ..self }
    }

    /// Stalls after `bytes` of the body.
    pub fn stalled_after(self, bytes: usize) -> Self {
        Self { stop: Some(bytes), stall: true, ..self }
    }

    /// Omits `Content-Length`.
    pub fn without_length(self) -> Self {
        Self { no_length: true, ..self }
    }

    /// Repeats the body forever.
    pub fn endless(self) -> Self {
        Self { no_length: true, endless: true, ..self }
    }

    /// Sends more bytes than `Content-Length` announces.
    pub fn with_surplus(self, bytes: usize) -> Self {
        Self { surplus: bytes, ..self }
    }

    fn write(&self, stream: &mut TcpStream, head_only: bool) -> io::Result<()> {
        write!(stream, "HTTP/1.1 {} Said\r\nConnection: close\r\n", self.status)?;
        if !self.no_length {
            write!(stream, "Content-Length: {}\r\n", self.body.len())?;
        }
        for (name, value) in &self.headers {
            write!(stream, "{name}: {value}\r\n")?;
        }
        stream.write_all(b"\r\n")?;
        if !head_only {
            let end = self.stop.unwrap_or(self.body.len()).min(self.body.len());
            stream.write_all(&self.body[..end])?;
            stream.write_all(&vec![b'x'; self.surplus])?;
            if self.endless {
                // Ends with an error when the client disconnects.
                loop {
                    stream.write_all(&self.body)?;
                }
            }
            stream.flush()?;
            if self.stall {
                thread::sleep(Duration::from_secs(50));
            }
        }
        Ok(())
    }
}

/// A running server, which ends with the test process.
#[derive(Clone, Debug)]
pub struct Server {
    address: SocketAddr,
    seen: Arc<Mutex<Vec<Request>>>,
}

impl Server {
    /// Starts a server on a free port. It also acts as a proxy for `CONNECT` requests.
    pub fn start(answer: impl Fn(&Request) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let server = Self { address, seen: Arc::clone(&seen) };
        let answer = Arc::new(answer);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (answer, seen) = (Arc::clone(&answer), Arc::clone(&seen));
                thread::spawn(move || {
                    // Clients may disconnect at any time.
                    let _ = serve(stream, answer.as_ref(), &seen);
                });
            }
        });
        server
    }

    /// A URL on the server.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// Requests so far.
    pub fn seen(&self) -> Vec<Request> {
        self.seen.lock().unwrap().clone()
    }
}

fn serve(
    mut stream: TcpStream,
    answer: &dyn Fn(&Request) -> Reply,
    seen: &Mutex<Vec<Request>>,
) -> io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let mut words = line.split_whitespace().map(str::to_owned);
    let (Some(method), Some(path)) = (words.next(), words.next()) else { return Ok(()) };
    let mut headers = BTreeMap::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let Some((name, value)) = line.trim().split_once(':') else { break };
        headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
    }
    let request = Request { method, path, headers };
    seen.lock().unwrap().push(request.clone());
    if request.method == "CONNECT" {
        return tunnel(stream, &request.path);
    }
    answer(&request).write(&mut stream, request.method == "HEAD")
}

fn tunnel(mut client: TcpStream, to: &str) -> io::Result<()> {
    let mut server = TcpStream::connect(to)?;
    client.write_all(b"HTTP/1.1 200 Connected\r\n\r\n")?;
    let (mut from_client, mut to_server) = (client.try_clone()?, server.try_clone()?);
    thread::spawn(move || io::copy(&mut from_client, &mut to_server));
    let mut buffer = [0; 4096];
    loop {
        let count = server.read(&mut buffer)?;
        if count == 0 {
            return client.shutdown(std::net::Shutdown::Both);
        }
        client.write_all(&buffer[..count])?;
    }
}
