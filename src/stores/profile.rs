//! AWS profiles: the shared files `~/.aws/credentials` and `~/.aws/config`.
//!
//! It owns the reading of one profile: static keys, a web identity, region
//! and endpoint. Profiles that would need another program or a login (SSO,
//! `credential_process`, a role assumed from another profile) are refused by
//! name. Values never appear in an error.

use std::collections::BTreeMap;
use std::path::PathBuf;

use object_store::aws::AmazonS3ConfigKey;

use crate::error::{Error, ErrorKind, Result};

/// A look at the environment.
pub type Variable<'a> = &'a dyn Fn(&str) -> Option<String>;

/// The profile that counts when none is named.
pub const DEFAULT: &str = "default";

/// What a profile says, as far as it concerns a store.
#[derive(Default)]
pub struct Profile {
    pub credentials: Vec<(AmazonS3ConfigKey, String)>,
    pub region: Option<String>,
    pub endpoint: Option<String>,
}

/// What a profile may say that only AWS's own tools can follow.
const REFUSED: [(&str, &str); 5] = [
    ("credential_process", "runs a program for its credentials"),
    ("sso_session", "needs a login (SSO)"),
    ("sso_start_url", "needs a login (SSO)"),
    ("source_profile", "assumes a role from another profile"),
    ("credential_source", "assumes a role from another source"),
];

const KEYS: [(&str, AmazonS3ConfigKey); 3] = [
    ("aws_access_key_id", AmazonS3ConfigKey::AccessKeyId),
    ("aws_secret_access_key", AmazonS3ConfigKey::SecretAccessKey),
    ("aws_session_token", AmazonS3ConfigKey::Token),
];

const WEB_IDENTITY: [(&str, AmazonS3ConfigKey); 3] = [
    ("web_identity_token_file", AmazonS3ConfigKey::WebIdentityTokenFile),
    ("role_arn", AmazonS3ConfigKey::RoleArn),
    ("role_session_name", AmazonS3ConfigKey::RoleSessionName),
];

/// Reads a profile; `None` where neither file has it.
pub fn load(name: &str, variable: Variable<'_>) -> Result<Option<Profile>> {
    let mut found = None::<BTreeMap<String, String>>;
    // Of a key in both files the one in `credentials` counts.
    for (path, section) in
        [(config(variable), config_section(name)), (credentials(variable), name.to_owned())]
    {
        let Some(text) = path.map(|path| read(&path)).transpose()?.flatten() else { continue };
        if let Some(settings) = sections(&text).remove(&section) {
            found.get_or_insert_default().extend(settings);
        }
    }
    found.map(|settings| profile(name, &settings)).transpose()
}

/// The error for a profile that is asked for and not there: which ones are.
pub fn missing(name: &str, variable: Variable<'_>) -> Error {
    let mut names = Vec::new();
    for path in [credentials(variable), config(variable)].into_iter().flatten() {
        for section in sections(&std::fs::read_to_string(path).unwrap_or_default()).into_keys() {
            names.push(section.strip_prefix("profile ").unwrap_or(&section).to_owned());
        }
    }
    names.sort();
    names.dedup();
    let there = if names.is_empty() {
        "there are none".to_owned()
    } else {
        format!("there are: {}", names.join(", "))
    };
    Error::new(ErrorKind::Config, format!("AWS profile `{name}` is in neither shared file; {there}")).remedy(
        "correct `aws_profile` or AWS_PROFILE, or set AWS_SHARED_CREDENTIALS_FILE to the file that has it",
    )
}

fn profile(name: &str, settings: &BTreeMap<String, String>) -> Result<Profile> {
    let given = |keys: [(&str, AmazonS3ConfigKey); 3]| -> Vec<(AmazonS3ConfigKey, String)> {
        keys.into_iter().filter_map(|(name, key)| Some((key, settings.get(name)?.clone()))).collect()
    };
    let region = settings.get("region").cloned();
    let endpoint = settings.get("endpoint_url").cloned();
    let keys = given(KEYS);
    if !keys.is_empty() {
        for (key, _) in KEYS.iter().take(2) {
            if !settings.contains_key(*key) {
                return Err(Error::new(ErrorKind::Config, format!("AWS profile `{name}` has no `{key}`"))
                    .remedy("complete the profile, or name another one in `aws_profile`"));
            }
        }
        return Ok(Profile { credentials: keys, region, endpoint });
    }
    if let Some((key, why)) = REFUSED.into_iter().find(|(key, _)| settings.contains_key(*key)) {
        return Err(Error::new(ErrorKind::Config, format!("AWS profile `{name}` {why}: `{key}` is not followed"))
            .remedy(format!(
                "put its keys into the environment: eval \"$(aws configure export-credentials --profile {name} --format env)\""
            )));
    }
    let credentials =
        if settings.contains_key("web_identity_token_file") { given(WEB_IDENTITY) } else { Vec::new() };
    Ok(Profile { credentials, region, endpoint })
}

fn credentials(variable: Variable<'_>) -> Option<PathBuf> {
    place(variable, "AWS_SHARED_CREDENTIALS_FILE", "credentials")
}

fn config(variable: Variable<'_>) -> Option<PathBuf> {
    place(variable, "AWS_CONFIG_FILE", "config")
}

fn place(variable: Variable<'_>, name: &str, file: &str) -> Option<PathBuf> {
    let own = variable(name).filter(|path| !path.is_empty()).map(PathBuf::from);
    own.or_else(|| Some(PathBuf::from(variable("HOME")?).join(".aws").join(file)))
}

fn config_section(name: &str) -> String {
    if name == DEFAULT { name.to_owned() } else { format!("profile {name}") }
}

fn read(path: &std::path::Path) -> Result<Option<String>> {
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Error::new(
            ErrorKind::Config,
            format!("{} cannot be read: {error}", path.display()),
        )
        .remedy(
            "let this user read it, or name another file in AWS_SHARED_CREDENTIALS_FILE or AWS_CONFIG_FILE",
        )),
    }
}

/// The sections of a shared file. Indented lines are settings of a service, which we do not follow.
fn sections(text: &str) -> BTreeMap<String, BTreeMap<String, String>> {
    let mut sections: BTreeMap<String, BTreeMap<String, String>> = BTreeMap::new();
    let mut current = None;
    for line in text.lines() {
        if line.starts_with([' ', '\t', '#', ';']) {
            continue;
        }
        if let Some(name) = line.trim().strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            // `[profile  x]` and `[profile x]` are the same.
            let name = name.0.split_whitespace().collect::<Vec<_>>().join(" ");
            current = Some(sections.entry(name).or_default());
        } else if let (Some(section), Some((key, value))) = (&mut current, line.split_once('=')) {
            section.insert(key.trim().to_ascii_lowercase(), without_comment(value).to_owned());
        }
    }
    sections
}

/// A comment begins with a space and `#` or `;`: a secret may hold both.
fn without_comment(value: &str) -> &str {
    let end = [" #", " ;", "\t#", "\t;"].iter().filter_map(|mark| value.find(mark)).min();
    value[..end.unwrap_or(value.len())].trim()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shared_files(credentials: &str, config: &str) -> tempfile::TempDir {
        let home = tempfile::tempdir().unwrap();
        std::fs::create_dir(home.path().join(".aws")).unwrap();
        std::fs::write(home.path().join(".aws/credentials"), credentials).unwrap();
        std::fs::write(home.path().join(".aws/config"), config).unwrap();
        home
    }

    fn loaded(home: &tempfile::TempDir, name: &str) -> Result<Option<Profile>> {
        let home = home.path().to_str().unwrap().to_owned();
        load(name, &move |name| (name == "HOME").then(|| home.clone()))
    }

    fn value(profile: &Profile, key: AmazonS3ConfigKey) -> Option<&str> {
        profile.credentials.iter().find(|(one, _)| *one == key).map(|(_, value)| value.as_str())
    }

    #[test]
    fn a_profile_is_read_from_both_files_and_credentials_win() {
        let home = shared_files(
            "# keys\n[default]\naws_access_key_id = D\naws_secret_access_key = d\n\n[lake]\naws_access_key_id=AK\n\
             aws_secret_access_key = a#b=c  # not a part of it\naws_session_token = T\n",
            "[default]\nregion = us-east-1\n[profile  lake]\nregion = eu-west-1\naws_access_key_id = OTHER\n\
             s3 =\n  max_concurrent_requests = 20\n  endpoint_url = http://nested\nendpoint_url = http://minio:9000\n",
        );
        let lake = loaded(&home, "lake").unwrap().unwrap();
        assert_eq!(value(&lake, AmazonS3ConfigKey::AccessKeyId), Some("AK"));
        assert_eq!(value(&lake, AmazonS3ConfigKey::SecretAccessKey), Some("a#b=c"));
        assert_eq!(value(&lake, AmazonS3ConfigKey::Token), Some("T"));
        assert_eq!(lake.region.as_deref(), Some("eu-west-1"));
        assert_eq!(lake.endpoint.as_deref(), Some("http://minio:9000"));
        let default = loaded(&home, "default").unwrap().unwrap();
        assert_eq!(value(&default, AmazonS3ConfigKey::AccessKeyId), Some("D"));
        assert!(loaded(&home, "nobody").unwrap().is_none());
    }

    #[test]
    fn a_profile_that_needs_another_program_is_refused_by_name() {
        let home = shared_files(
            "",
            "[profile a]\nsso_session = corp\n[profile b]\ncredential_process = /bin/keys hunter2\n\
             [profile c]\nrole_arn = arn:x\nsource_profile = a\n",
        );
        for (name, key) in [("a", "sso_session"), ("b", "credential_process"), ("c", "source_profile")] {
            let Err(error) = loaded(&home, name) else { panic!("{name} was taken") };
            assert_eq!(error.kind, ErrorKind::Config);
            assert!(error.message.contains(key) && error.message.contains(&format!("`{name}`")), "{error}");
            assert!(!format!("{error:?}").contains("hunter2"), "{error:?}");
        }
    }

    #[test]
    fn half_a_pair_of_keys_is_an_error_that_does_not_show_the_other_half() {
        let home = shared_files("[half]\naws_secret_access_key = hunter2\n", "");
        let Err(error) = loaded(&home, "half") else { panic!("half a pair was taken") };
        assert!(error.message.contains("has no `aws_access_key_id`"), "{error}");
        assert!(!format!("{error:?}").contains("hunter2"));
    }

    #[test]
    fn a_web_identity_is_taken_from_the_profile() {
        let home = shared_files(
            "",
            "[profile pod]\nrole_arn = arn:aws:iam::1:role/x\nweb_identity_token_file = /t\n",
        );
        let pod = loaded(&home, "pod").unwrap().unwrap();
        assert_eq!(value(&pod, AmazonS3ConfigKey::RoleArn), Some("arn:aws:iam::1:role/x"));
        assert_eq!(value(&pod, AmazonS3ConfigKey::WebIdentityTokenFile), Some("/t"));
    }
}
