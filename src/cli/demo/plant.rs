//! A small plant as a function of time: a boiler with its pump, an air handler, two electricity meters. Pure: the same
//! moment always reads the same, so a subscriber can be checked against it.

use std::f64::consts::TAU;
use std::time::Duration;

/// What one unit holds in its four tables, each from address 0.
#[derive(Debug, Clone, PartialEq)]
pub struct Image {
    /// Coils.
    pub coils: Vec<bool>,
    /// Discrete inputs.
    pub discrete: Vec<bool>,
    /// Input registers.
    pub input: Vec<u16>,
    /// Holding registers.
    pub holding: Vec<u16>,
}

/// One burner cycle, and how long the burner is on in it, in seconds.
const CYCLE_S: f64 = 40.0;
const BURNING_S: f64 = 24.0;
/// The pump runs on after the burner, to carry the heat away.
const PUMP_S: f64 = BURNING_S + 8.0;
const BURNER_KW: f64 = 24.0;

/// The boiler, unit 1 on the network.
pub fn boiler(at: Duration) -> Image {
    let t = at.as_secs_f64();
    let phase = t % CYCLE_S;
    let burning = phase < BURNING_S;
    let pumping = phase < PUMP_S;
    // Warming towards a limit and cooling again, in the steady state where each begins as warm as the other ended.
    let (while_on, while_off) = ((-BURNING_S / 9.0).exp(), (-(CYCLE_S - BURNING_S) / 11.0).exp());
    let warmest = (1.0 - while_on) / (1.0 - while_on * while_off);
    let coolest = warmest * while_off;
    let warmth = if burning {
        1.0 - (1.0 - coolest) * (-phase / 9.0).exp()
    } else {
        warmest * (-(phase - BURNING_S) / 11.0).exp()
    };
    let drift = 2.0 * (TAU * t / 600.0).sin();
    let supply = 56.0 + 9.0 * warmth + drift + 0.1 * noise(t, 1);
    let back = supply - if pumping { 11.0 } else { 5.0 } + 0.1 * noise(t, 2);
    let outside = -3.4 + 1.5 * (TAU * t / 900.0).sin() + 0.05 * noise(t, 3);
    let modulation = if burning { 100.0 - 55.0 * warmth } else { 0.0 };
    let burned_s = (t / CYCLE_S).floor() * BURNING_S + phase.min(BURNING_S);
    let heat_kwh = 48_213.0 + burned_s * BURNER_KW / 3600.0;
    let flow = if pumping { 1.42 + 0.02 * noise(t, 4) } else { 0.0 };

    let mut input = vec![0; 8];
    input[..2].copy_from_slice(&words_u32((heat_kwh * 100.0) as u32));
    // This make of boiler sends the low word first: what `byte_order: CDAB` is for.
    let [high, low] = words_f32(flow);
    input[2..4].copy_from_slice(&[low, high]);
    let tenths = [supply, back, outside].map(|celsius| (celsius * 10.0).round() as i16 as u16);
    let holding = vec![tenths[0], tenths[1], tenths[2], modulation.round() as u16];
    Image { coils: vec![pumping], discrete: vec![burning, false], input, holding }
}

/// The air handler, unit 2 on the network.
pub fn air_handler(at: Duration) -> Image {
    let t = at.as_secs_f64();
    let supply = 21.5 + 0.8 * (TAU * t / 240.0).sin() + 0.05 * noise(t, 10);
    let speed = 1180.0 + 40.0 * (TAU * t / 90.0).sin() + 3.0 * noise(t, 11);
    let filter_pa = 84.0 + t / 3600.0 + 1.5 * noise(t, 12);
    let mut input = vec![(supply * 10.0).round() as i16 as u16, speed.round() as u16];
    input.extend(words_f32(filter_pa));
    Image { coils: vec![true], discrete: vec![false], input, holding: vec![215, 1200] }
}

/// Meter 1 or 2 on the serial line, with the register map of a common three-phase meter: 32-bit floats in input registers.
pub fn meter(number: u8, at: Duration) -> Image {
    let t = at.as_secs_f64();
    let n = f64::from(number);
    let channel = u64::from(number) * 100;
    let voltage = |phase: u64| 230.0 + 1.6 * (TAU * t / 300.0 + phase as f64).sin() + 0.4 * noise(t, channel + phase);
    // A load that swings slowly, and its integral: the counter is exactly what the power adds up to, so it only rises.
    let (base_kw, swing_kw, period_s) = (3.1 * n, 1.2 * n, 75.0 * n);
    let omega = TAU / period_s;
    let power_kw = base_kw + swing_kw * (omega * t).sin();
    let energy_kwh = 1_452.3 * n + (base_kw * t + swing_kw / omega * (1.0 - (omega * t).cos())) / 3600.0;
    let frequency = 50.0 + 0.02 * (TAU * t / 40.0).sin() + 0.004 * noise(t, channel + 9);

    let mut input = vec![0; 80];
    let mut put = |address: usize, value: f64| input[address..address + 2].copy_from_slice(&words_f32(value));
    for phase in 0..3u64 {
        let volts = voltage(phase);
        put(2 * phase as usize, volts);
        put(6 + 2 * phase as usize, power_kw * 1000.0 / 3.0 / volts);
    }
    put(52, power_kw * 1000.0);
    put(70, frequency);
    put(72, energy_kwh);
    Image { coils: Vec::new(), discrete: Vec::new(), input, holding: vec![0; 4] }
}

fn words_u32(value: u32) -> [u16; 2] {
    [(value >> 16) as u16, value as u16]
}

fn words_f32(value: f64) -> [u16; 2] {
    words_u32((value as f32).to_bits())
}

/// From -1 to 1, another one each 200 ms and for each channel: the last digits of a real sensor.
fn noise(t: f64, channel: u64) -> f64 {
    // SplitMix64 (Steele, Lea, Flood 2014) of tick and channel: a good mix without state.
    let mut z = ((t * 5.0) as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ channel.wrapping_mul(0xD1B5_4A32_D192_ED03);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^= z >> 31;
    (z >> 11) as f64 / (1u64 << 52) as f64 - 1.0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn moments() -> impl Iterator<Item = Duration> {
        (0..12_000).map(|n| Duration::from_millis(n * 137))
    }

    fn f32_at(registers: &[u16], address: usize) -> f32 {
        f32::from_bits(u32::from(registers[address]) << 16 | u32::from(registers[address + 1]))
    }

    #[test]
    fn the_same_moment_reads_the_same_and_the_next_does_not() {
        let at = Duration::from_secs(77);
        assert_eq!(boiler(at), boiler(at));
        assert_ne!(meter(1, at), meter(1, at + Duration::from_secs(1)));
        assert_ne!(meter(1, at), meter(2, at));
    }

    #[test]
    fn counters_only_rise() {
        let heat = |at| boiler(at).input[..2].iter().fold(0u32, |all, word| all << 16 | u32::from(*word));
        let energy = |number, at| f32_at(&meter(number, at).input, 72);
        for (a, b) in moments().zip(moments().skip(1)) {
            assert!(heat(a) <= heat(b));
            assert!(energy(1, a) <= energy(1, b) && energy(2, a) <= energy(2, b), "{a:?}");
        }
        let hour = Duration::from_secs(3600);
        let used = energy(1, hour) - energy(1, Duration::ZERO);
        assert!((2.5..3.7).contains(&used), "{used} kWh in an hour");
    }

    #[test]
    fn values_stay_where_a_real_plant_has_them() {
        for at in moments() {
            let boiler = boiler(at);
            let celsius = |n: usize| f64::from(boiler.holding[n] as i16) / 10.0;
            assert!((50.0..70.0).contains(&celsius(0)) && celsius(1) < celsius(0), "{at:?}");
            assert!((-6.0..0.0).contains(&celsius(2)) && boiler.holding[3] <= 100);
            let meter = meter(1, at).input;
            for phase in 0..3 {
                assert!((226.0..234.0).contains(&f32_at(&meter, 2 * phase)), "{at:?}");
            }
            assert!((49.9..50.1).contains(&f32_at(&meter, 70)));
        }
    }

    #[test]
    fn the_pump_switches_and_the_temperature_has_no_jumps() {
        let pumping: Vec<bool> = moments().map(|at| boiler(at).coils[0]).collect();
        assert!(pumping.contains(&true) && pumping.contains(&false));
        for (a, b) in moments().zip(moments().skip(1)) {
            let step = i32::from(boiler(a).holding[0] as i16) - i32::from(boiler(b).holding[0] as i16);
            assert!(step.abs() <= 5, "{step} tenths of a degree in 137 ms at {a:?}");
        }
    }
}
