//! The countries whose Wi-Fi rules a board's radio has.

/// ISO 3166-1 alpha-2 codes in the country locale matrix of the images, without `XX`, the rules for any country.
const COUNTRIES: &str = "AT AU BE BR CA CH CL CN CO CZ DE DK EE ES FR GB GR HK HU IL IN IS IT JP KE KR LI LT LU LV MT MX MY NG NL NO NZ \
                         PE PH PL PT SE SG SI SK TH TR TW US ZA";
/// The rules for any country.
const WORLD: &str = "XX";

/// What to tell a person whose country the radio has no rules for.
pub(super) fn warning(country: &str) -> Option<String> {
    let known = country == WORLD || COUNTRIES.split(' ').any(|known| known == country);
    (!known).then(|| {
        format!("the radio has no rules for the country {country} and keeps to the worldwide ones; it has: {COUNTRIES}")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(feature = "lab")]
    #[test]
    fn countries_are_those_of_the_matrix_in_the_image() {
        let matrix = picolet_emulator::radio::clm::countries(picolet_image::radio::COUNTRIES);
        let codes = matrix.expect("a matrix").into_iter().map(|(code, _)| code);
        let codes: Vec<String> = codes
            .filter(|code| code[0].is_ascii_uppercase() && code != WORLD.as_bytes())
            .map(|code| String::from_utf8_lossy(&code).into_owned())
            .collect();
        assert_eq!(COUNTRIES, codes.join(" "));
    }

    #[test]
    fn country_without_rules_is_warned_of() {
        for (country, warned) in [
            ("DE", false),
            ("KR", false),
            ("XX", false),
            ("FI", true),
            ("de", true),
        ] {
            assert_eq!(warning(country).is_some(), warned, "{country}");
        }
    }
}
