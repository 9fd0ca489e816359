//! A GET, as far as health checks and metrics need it.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result};

/// Longest wait for a connection and for an answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// Most bytes of an answer.
const LONGEST: u64 = 16 << 20;

/// Status and body. HTTP/1.0, so that the body ends with the connection and comes as it is (RFC 9112, 6.3).
pub(super) fn get(address: SocketAddr, path: &str) -> Result<(u16, String)> {
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    write!(stream, "GET {path} HTTP/1.0\r\nHost: {address}\r\n\r\n")?;
    let mut answer = String::new();
    stream.take(LONGEST).read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").context("the answer is cut")?;
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).context("no status")?;
    Ok((status, body.to_owned()))
}

/// What `/metrics` says: values by series, as `name{label="value"}`.
#[derive(Clone, Debug, Default)]
pub struct Metrics(BTreeMap<String, f64>);

impl Metrics {
    /// Reads the Prometheus text format.
    pub fn parse(text: &str) -> Self {
        let samples = text.lines().filter(|line| !line.starts_with('#'));
        Self(samples.filter_map(sample).collect())
    }

    /// The sum of all series of a name whose labels contain all of these texts, such as `reason="duplicate"`. A
    /// series that is not there counts 0.
    pub fn sum(&self, name: &str, labels: &[&str]) -> f64 {
        let of = |series: &str| {
            let (found, rest) = series.split_once('{').unwrap_or((series, ""));
            found == name && labels.iter().all(|label| rest.contains(label))
        };
        self.0.iter().filter(|(series, _)| of(series)).map(|(_, value)| value).sum()
    }

    /// Every series and its value.
    pub fn iter(&self) -> impl Iterator<Item = (&str, f64)> {
        self.0.iter().map(|(series, value)| (series.as_str(), *value))
    }
}

fn sample(line: &str) -> Option<(String, f64)> {
    // Labels may contain spaces; what follows them does not.
    let end = line.rfind('}').map_or_else(|| line.find(' '), |brace| Some(brace + 1))?;
    let value = line[end..].split_whitespace().next()?.parse().ok()?;
    Some((line[..end].to_owned(), value))
}

#[cfg(test)]
mod tests {
    use super::Metrics;

    #[test]
    fn series_are_summed() {
        let metrics = Metrics::parse(
            "# HELP drops x\n# TYPE drops counter\ndrops_total{reason=\"a b\",sender=\"1\"} 3\n\
             drops_total{reason=\"a b\",sender=\"2\"} 4.5 1700\ndrops_total{reason=\"c\"} 7\nup 1\n# EOF\n",
        );
        assert!((metrics.sum("drops_total", &["reason=\"a b\""]) - 7.5).abs() < 1e-9);
        assert!((metrics.sum("drops_total", &[]) - 14.5).abs() < 1e-9);
        assert!((metrics.sum("up", &[]) - 1.0).abs() < 1e-9);
        assert!(metrics.sum("drops", &[]).abs() < 1e-9);
        assert_eq!(metrics.iter().count(), 4);
    }
}
