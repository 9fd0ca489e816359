//! Numbers that somebody else has counted, for programs that are no node.

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;

/// A number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Number {
    /// It only grows while the program runs; its name gets `_total`.
    Counter(u64),
    /// It goes up and down.
    Gauge(u64),
}

/// A number with its name and what it counts.
pub type Named = (&'static str, String, Number);

type Source = Box<dyn Fn() -> Vec<Named> + Send + Sync>;

/// Metrics of a program, read from `source` at each scrape.
#[derive(Debug)]
pub struct PlainMetrics {
    registry: Registry,
}

impl PlainMetrics {
    /// All names begin with `prefix` and `_`.
    pub fn new(prefix: &str, source: impl Fn() -> Vec<Named> + Send + Sync + 'static) -> Self {
        let mut registry = Registry::with_prefix(prefix);
        registry.register_collector(Box::new(Numbers(Box::new(source))));
        Self { registry }
    }

    /// All of it as `OpenMetrics` text.
    pub fn encode(&self) -> String {
        let mut text = String::new();
        // Writing to a String does not fail.
        let _ = prometheus_client::encoding::text::encode(&mut text, &self.registry);
        text
    }
}

struct Numbers(Source);

impl fmt::Debug for Numbers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Numbers")
    }
}

impl Collector for Numbers {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        for (name, help, number) in (self.0)() {
            match number {
                Number::Counter(value) => {
                    let out = encoder.encode_descriptor(name, &help, None, MetricType::Counter)?;
                    ConstCounter::new(value).encode(out)?;
                }
                Number::Gauge(value) => {
                    #[expect(clippy::cast_precision_loss, reason = "exact up to 2^53")]
                    let value = ConstGauge::new(value as f64);
                    value.encode(encoder.encode_descriptor(name, &help, None, MetricType::Gauge)?)?;
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn open_metrics() {
        let numbers = || {
            vec![
                ("requests", "HTTP requests.".to_owned(), Number::Counter(3)),
                ("objects", "Objects held.".to_owned(), Number::Gauge(7)),
            ]
        };
        let expected = "# HELP outplane_x_requests HTTP requests.\n# TYPE outplane_x_requests counter\n\
                        outplane_x_requests_total 3\n# HELP outplane_x_objects Objects held.\n\
                        # TYPE outplane_x_objects gauge\noutplane_x_objects 7.0\n# EOF\n";
        assert_eq!(PlainMetrics::new("outplane_x", numbers).encode(), expected);
    }
}
