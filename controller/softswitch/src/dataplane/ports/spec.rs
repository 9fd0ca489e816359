//! Which interface is which port, as people write it.

use std::fmt;
use std::str::FromStr;

use outplane_p4::CPU_PORT;

/// Largest number that an interface can have: the program keeps 510 for the controller, v1model 511 for drops.
pub const MAX_PORT: u16 = CPU_PORT - 1;

/// Longest interface name (Linux, IFNAMSIZ without the terminator).
const MAX_INTERFACE_NAME: usize = 15;

/// Which interface is which port: `<number>=<interface>`, as in `1=veth1`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PortSpec {
    number: u16,
    interface: String,
}

impl PortSpec {
    /// Checks number and name.
    pub fn new(number: u16, interface: &str) -> Result<Self, PortSpecError> {
        if !(1..=MAX_PORT).contains(&number) {
            return Err(PortSpecError::Number(number.to_string()));
        }
        let bad = |c: char| c == '/' || c == ':' || c.is_whitespace() || c.is_control();
        if interface.is_empty()
            || interface.len() > MAX_INTERFACE_NAME
            || matches!(interface, "." | ".." | "any")
            || interface.contains(bad)
        {
            return Err(PortSpecError::Interface(interface.to_owned()));
        }
        Ok(Self { number, interface: interface.to_owned() })
    }

    /// 1 to [`MAX_PORT`].
    pub fn number(&self) -> u16 {
        self.number
    }

    /// The interface's name.
    pub fn interface(&self) -> &str {
        &self.interface
    }
}

impl FromStr for PortSpec {
    type Err = PortSpecError;

    fn from_str(text: &str) -> Result<Self, PortSpecError> {
        let (number, interface) = text.split_once('=').ok_or_else(|| PortSpecError::Form(text.to_owned()))?;
        let number = number.parse().map_err(|_| PortSpecError::Number(number.to_owned()))?;
        Self::new(number, interface)
    }
}

impl fmt::Display for PortSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}", self.number, self.interface)
    }
}

/// What is wrong with a port's description.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PortSpecError {
    /// Not `<number>=<interface>`.
    #[error("port `{0}`: write `<number>=<interface>`, for example `1=veth1`")]
    Form(String),
    /// Not a port number.
    #[error("port number `{0}`: must be 1 to {MAX_PORT} (510 is the controller's, 511 drops)")]
    Number(String),
    /// Not an interface name.
    #[error("interface `{0}`: must be the name of one interface, 1 to {MAX_INTERFACE_NAME} characters")]
    Interface(String),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn port_specs() {
        for (text, number, interface) in
            [("1=veth1", 1, "veth1"), ("509=eth0.100", 509, "eth0.100"), ("7=a=b", 7, "a=b")]
        {
            let spec: PortSpec = text.parse().unwrap();
            assert_eq!((spec.number(), spec.interface()), (number, interface));
            assert_eq!(spec.to_string(), text);
        }
    }

    #[test]
    fn bad_port_specs() {
        let number = |text: &str| PortSpecError::Number(text.to_owned());
        let interface = |text: &str| PortSpecError::Interface(text.to_owned());
        for (text, error) in [
            ("veth1", PortSpecError::Form("veth1".to_owned())),
            ("", PortSpecError::Form(String::new())),
            ("=veth1", number("")),
            ("0=veth1", number("0")),
            ("510=veth1", number("510")),
            ("511=veth1", number("511")),
            ("70000=veth1", number("70000")),
            ("-1=veth1", number("-1")),
            ("x=veth1", number("x")),
            ("1=", interface("")),
            ("1=any", interface("any")),
            ("1=..", interface("..")),
            ("1=a/b", interface("a/b")),
            ("1=a b", interface("a b")),
            ("1=a\0b", interface("a\0b")),
            ("1=sixteencharsname", interface("sixteencharsname")),
        ] {
            assert_eq!(text.parse::<PortSpec>(), Err(error), "{text}");
        }
    }
}
