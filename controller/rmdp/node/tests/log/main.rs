//! The intent log over a real store: whatever was appended is read again, and what was damaged is refused.

mod damage;
mod history;
mod races;
mod support;
