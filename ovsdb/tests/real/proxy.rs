//! Stands between the client and a real server, to cut the connection and to hide what the server knows.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

pub(crate) struct Proxy {
    port: u16,
    streams: Arc<Mutex<Vec<TcpStream>>>,
}

impl Proxy {
    /// Bytes towards the server pass through `rewrite`, which must keep their number.
    pub(crate) fn start(
        server_port: u16,
        rewrite: impl Fn(Vec<u8>) -> Vec<u8> + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let streams = Arc::new(Mutex::new(Vec::new()));
        let kept = streams.clone();
        let rewrite = Arc::new(rewrite);
        thread::spawn(move || {
            for client in listener.incoming() {
                let (Ok(client), Ok(server)) =
                    (client, TcpStream::connect((Ipv4Addr::LOCALHOST, server_port)))
                else {
                    return;
                };
                kept.lock().unwrap().extend([client.try_clone().unwrap(), server.try_clone().unwrap()]);
                let (client2, server2) = (client.try_clone().unwrap(), server.try_clone().unwrap());
                let rewrite = rewrite.clone();
                thread::spawn(move || carry(client, server, &*rewrite));
                thread::spawn(move || carry(server2, client2, &|bytes| bytes));
            }
        });
        Self { port, streams }
    }

    pub(crate) fn remote(&self) -> String {
        format!("tcp:127.0.0.1:{}", self.port)
    }

    /// Those that were opened since the last cut.
    pub(crate) fn connections(&self) -> usize {
        self.streams.lock().unwrap().len() / 2
    }

    pub(crate) fn cut(&self) {
        for stream in self.streams.lock().unwrap().drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.cut();
    }
}

fn carry(mut from: TcpStream, mut to: TcpStream, rewrite: &dyn Fn(Vec<u8>) -> Vec<u8>) {
    let mut bytes = vec![0; 1 << 16];
    while let Ok(len @ 1..) = from.read(&mut bytes) {
        if to.write_all(&rewrite(bytes[..len].to_vec())).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Write);
}

/// Makes a method's name one that no server knows.
pub(crate) fn hide(methods: &'static [&'static str]) -> impl Fn(Vec<u8>) -> Vec<u8> {
    move |bytes| {
        let mut text = String::from_utf8(bytes).unwrap();
        for method in methods {
            let quoted = format!("\"{method}\"");
            text = text.replace(&quoted, &quoted.replace('m', "x"));
        }
        text.into_bytes()
    }
}
