//! Writing families of numbers in the words of `prometheus-client`.

use std::fmt;

use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Unit;

use crate::metrics::cell::Timings;

pub(super) type Label<'a> = (&'static str, &'a str);

pub(super) struct Out<'a>(pub(super) DescriptorEncoder<'a>);

impl Out<'_> {
    /// `NAME_total`, once for each set of labels.
    pub(super) fn counters<const N: usize>(
        &mut self,
        name: &str,
        help: &str,
        counts: &[([Label<'_>; N], u64)],
    ) -> fmt::Result {
        let mut family = self
            .0
            .encode_descriptor(name, help, None, MetricType::Counter)?;
        for (labels, count) in counts {
            family
                .encode_family(labels)?
                .encode_counter::<NoLabelSet, _, u64>(count, None)?;
        }
        Ok(())
    }

    /// `NAME_total`.
    pub(super) fn counter(&mut self, name: &str, help: &str, count: u64) -> fmt::Result {
        self.0
            .encode_descriptor(name, help, None, MetricType::Counter)?
            .encode_counter::<NoLabelSet, _, u64>(&count, None)
    }

    /// `NAME`, once for each set of labels.
    pub(super) fn gauges<const N: usize>(
        &mut self,
        name: &str,
        help: &str,
        levels: &[([Label<'_>; N], i64)],
    ) -> fmt::Result {
        let mut family = self
            .0
            .encode_descriptor(name, help, None, MetricType::Gauge)?;
        for (labels, level) in levels {
            family.encode_family(labels)?.encode_gauge(level)?;
        }
        Ok(())
    }

    /// `NAME`.
    pub(super) fn gauge(&mut self, name: &str, help: &str, level: i64) -> fmt::Result {
        self.0
            .encode_descriptor(name, help, None, MetricType::Gauge)?
            .encode_gauge(&level)
    }

    /// `NAME_seconds`, a histogram for each set of labels.
    pub(super) fn timings<const N: usize>(
        &mut self,
        name: &str,
        help: &str,
        timings: &[([Label<'_>; N], &Timings)],
    ) -> fmt::Result {
        let mut family =
            self.0
                .encode_descriptor(name, help, Some(&Unit::Seconds), MetricType::Histogram)?;
        for (labels, timing) in timings {
            write(&mut family.encode_family(labels)?, timing)?;
        }
        Ok(())
    }

    /// `NAME_seconds`, a histogram.
    pub(super) fn timing(&mut self, name: &str, help: &str, timing: &Timings) -> fmt::Result {
        let unit = Some(&Unit::Seconds);
        let mut alone = self
            .0
            .encode_descriptor(name, help, unit, MetricType::Histogram)?;
        write(&mut alone, timing)
    }
}

fn write(out: &mut MetricEncoder<'_>, timing: &Timings) -> fmt::Result {
    let (sum, count) = (timing.seconds(), timing.count());
    out.encode_histogram::<NoLabelSet>(sum, count, &timing.buckets(), None)
}
