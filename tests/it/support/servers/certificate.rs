//! Certificates of an authority that nobody knows but the test.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::Command;

use tempfile::TempDir;

use super::{postgres, tool};

const KIND: [&str; 5] = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"];

pub struct Certificate {
    folder: TempDir,
}

impl Certificate {
    /// Of a server at this address, signed by an authority of its own.
    pub fn of(address: &str) -> Self {
        let folder = tempfile::Builder::new().prefix("expunged-server-").tempdir().unwrap();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o711)).unwrap();
        let made = Self { folder };
        let openssl = |words: &str, files: &[(&str, PathBuf)]| {
            let mut command = Command::new("openssl");
            command.args(words.split_whitespace());
            for (option, file) in files {
                command.arg(option).arg(file);
            }
            command
        };
        let (authority, request) = (made.file("authority.key"), made.file("request.pem"));
        let mut sign = openssl(
            "req -x509 -days 2 -subj /CN=authority",
            &[("-keyout", authority.clone()), ("-out", made.authority())],
        );
        sign.args(KIND);
        tool(sign);
        let mut ask = openssl("req -subj /CN=server", &[("-keyout", made.key()), ("-out", request.clone())]);
        ask.args(KIND);
        tool(ask);
        let names = made.file("names");
        fs::write(&names, format!("subjectAltName=IP:{address}\n")).unwrap();
        tool(openssl(
            "x509 -req -days 2 -CAcreateserial",
            &[
                ("-in", request),
                ("-CA", made.authority()),
                ("-CAkey", authority),
                ("-extfile", names),
                ("-out", made.certificate()),
            ],
        ));
        postgres::own(&made.key());
        made
    }

    pub fn authority(&self) -> PathBuf {
        self.file("authority.pem")
    }

    pub fn certificate(&self) -> PathBuf {
        self.file("server.pem")
    }

    pub fn key(&self) -> PathBuf {
        self.file("server.key")
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}
