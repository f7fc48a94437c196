//! Language models with unusable models, templates and examples: each is one clear error, or one note
//! with a count.

use std::{collections::BTreeMap, fs};

use safetensors::{
    SafeTensors,
    tensor::{TensorView, serialize_to_file},
};
use serde_json::{Value, json};
use test_support::{World, fixture, run_with_input};

/// Commands that load the model `tiny` as a language model.
const COMMANDS: [&str; 4] = [
    "train --task language-model --model tiny --data pairs.jsonl --steps 1 --out out",
    "evaluate --adapter spoken --model tiny --data pairs.jsonl",
    "generate --adapter spoken --model tiny --prompt home",
    "generate --model tiny --prompt home",
];

const CONFIG: &str = "tiny/config.json";

/// A world with an adapter for `tiny` (`spoken`) and examples (`pairs.jsonl`).
fn world() -> World {
    let world = World::new();
    for name in ["adapter_config.json", "adapter_model.safetensors"] {
        let file = fixture("generation/adapter").join(name);
        world.write(&format!("spoken/{name}"), fs::read(file).unwrap());
    }
    world.write("pairs.jsonl", "{\"prompt\": \"a\", \"completion\": \" b\"}\n".repeat(20));
    world
}

#[track_caller]
fn all_refuse(world: &World, says: &[&str]) {
    for command in COMMANDS {
        println!("{}", world.refuses(command, says).error);
    }
}

#[test]
fn configurations_of_other_architectures_are_refused() {
    for (name, keys) in [
        ("bert", json!({"hidden_size": 16, "num_hidden_layers": 2})),
        ("llama", json!({"hidden_size": 16, "rms_norm_eps": 1e-6})),
        ("gpt_neo", json!({"hidden_size": 16, "num_layers": 2})),
    ] {
        let world = world();
        let mut config: Value = serde_json::from_slice(&world.read(CONFIG)).unwrap();
        let values = config.as_object_mut().unwrap();
        values.insert("model_type".to_owned(), json!(name));
        // The rest is as the architecture has it, or as GPT-2 has it.
        world.write(CONFIG, config.to_string());
        let got = format!("got {name:?}");
        all_refuse(&world, &[CONFIG, "model_type", "gpt2", &got]);
        let values = config.as_object_mut().unwrap();
        for key in ["n_embd", "n_layer", "n_head", "n_positions"] {
            values.remove(key);
        }
        values.extend(keys.as_object().unwrap().clone());
        world.write(CONFIG, config.to_string());
        all_refuse(&world, &[CONFIG, "model_type", "gpt2", &got]);
    }
}

#[test]
fn vocabularies_larger_or_smaller_than_the_embedding_are_refused() {
    for size in [50_258, 50_256] {
        let world = world();
        world.change(CONFIG, "\"vocab_size\": 50257", &format!("\"vocab_size\": {size}"));
        let rows = format!("wte.weight has 50257 rows, expected {size} (vocab_size)");
        all_refuse(&world, &["tiny/model.safetensors", &rows, "give both files of one model"]);
    }
}

/// Divides the weights of `tiny` into three shards with an index.
fn divide_into_shards(world: &World) {
    let bytes = world.read("tiny/model.safetensors");
    let whole = SafeTensors::deserialize(&bytes).unwrap();
    let (mut map, mut shards) = (serde_json::Map::new(), BTreeMap::<_, Vec<_>>::new());
    for (number, (name, view)) in whole.tensors().into_iter().enumerate() {
        let file = format!("model-{:05}-of-00003.safetensors", number % 3 + 1);
        map.insert(name.clone(), file.clone().into());
        shards.entry(file).or_default().push((name, view));
    }
    for (file, tensors) in shards {
        let tensors: Vec<(String, TensorView<'_>)> = tensors;
        serialize_to_file(tensors, None, &world.path("tiny").join(file)).unwrap();
    }
    fs::remove_file(world.path("tiny/model.safetensors")).unwrap();
    let index = json!({"metadata": {}, "weight_map": map}).to_string();
    world.write("tiny/model.safetensors.index.json", index);
}

#[test]
fn missing_shards_are_named() {
    let world = world();
    let generate = COMMANDS[3];
    let arguments = |world: &World| -> Vec<String> {
        let tiny = world.path("tiny").display().to_string();
        generate.split(' ').map(|word| word.replace("tiny", &tiny)).collect()
    };
    let expected = run_with_input("gpt2-lora", arguments(&world), "").succeeded().stdout();
    divide_into_shards(&world);
    let found = run_with_input("gpt2-lora", arguments(&world), "").succeeded().stdout();
    assert_eq!(found, expected);

    let shard = "tiny/model-00002-of-00003.safetensors";
    let bytes = world.read(shard);
    fs::remove_file(world.path(shard)).unwrap();
    let index = "tiny/model.safetensors.index.json";
    let missing = "1 of its 3 shards are missing, the first is model-00002-of-00003.safetensors";
    all_refuse(&world, &[index, missing, "fetch them"]);
    world.write(shard, &bytes[..bytes.len() / 2]);
    all_refuse(&world, &[shard, "not a whole safetensors file"]);
}

#[test]
fn templates_that_fail_are_refused_with_their_line() {
    let world = world();
    let conversation = json!({"messages": [
        {"role": "user", "content": "a"}, {"role": "user", "content": "b"},
        {"role": "assistant", "content": "c"},
    ]});
    world.write("chats.jsonl", format!("{conversation}\n").repeat(9));
    let raising = "{% for message in messages %}\n\
                   {% if message.role == 'user' and not loop.first %}\n\
                   {{ raise_exception('roles must alternate') }}\n{% endif %}\n{% endfor %}";
    let broken = "{% for message in messages %}\n{{ message.content }\n";
    let endless = "{% for i in range(90000) %}{% for j in range(90000) %}{% endfor %}{% endfor %}";
    let train = "train --task language-model --data chats.jsonl --steps 1 --out out";
    for (template, says) in [
        (raising, &["chats.jsonl, line 1", "roles must alternate", "line 3 of the template"][..]),
        (broken, &["syntax error", "line 2 of the template"]),
        (endless, &["chats.jsonl, line 1", "out of fuel"]),
        ("{{ messages | nothing }}", &["chats.jsonl, line 1", "unknown filter"]),
        ("{{ messages[0].content }}", &["chats.jsonl, line 1", "leaves out message 3"]),
        ("{{ messages[-1].content }}", &["chats.jsonl, line 1", "otherwise than at the beginning"]),
    ] {
        world.write("chat.jinja", template);
        let command = format!("{train} --model tiny --chat-template chat.jinja");
        println!("{}", world.refuses(&command, says).error);
        // As a part of the model.
        world.write("tiny/chat_template.jinja", template);
        println!("{}", world.refuses(&format!("{train} --model tiny"), says).error);
        fs::remove_file(world.path("tiny/chat_template.jinja")).unwrap();
        let settings = json!({"chat_template": template}).to_string();
        world.write("tiny/tokenizer_config.json", settings);
        let command = format!("{train} --model tiny");
        println!("{}", world.refuses(&command, says).error);
        fs::remove_file(world.path("tiny/tokenizer_config.json")).unwrap();
    }
}

/// Standard error of a training of `tiny`.
fn notes_of_training(world: &World, data: &str) -> String {
    let path = |name: &str| world.path(name).display().to_string();
    let fixed = "train --task language-model --steps 1 --batch-size 4 --rank 2".split(' ');
    let fixed = fixed.map(String::from);
    let paths = [("--model", "tiny"), ("--data", data), ("--out", "noted")];
    let paths = paths.map(|(option, name)| [option.to_owned(), path(name)]);
    let all: Vec<String> = fixed.chain(paths.into_iter().flatten()).collect();
    let _ = fs::remove_dir_all(world.path("noted"));
    run_with_input("gpt2-lora", all, "").succeeded().stderr()
}

#[test]
fn empty_completions_and_full_contexts_are_counted() {
    let world = world();
    let whole = String::from_utf8(world.read("pairs.jsonl")).unwrap();
    let long = json!({"prompt": "word ".repeat(120), "completion": "x"});
    for empty in ["\"\"", "\" \\n\"", "null"] {
        let empty = format!("{{\"prompt\": \"a\", \"completion\": {empty}}}\n");
        world.write("some.jsonl", format!("{whole}{empty}{empty}{long}\n"));
        let notes = notes_of_training(&world, "some.jsonl");
        let count = "skipped 2 of 23 examples, whose text, completion or answer is empty or missing; \
                     the first is in";
        for words in [count, "some.jsonl, line 21", "1 training examples were dropped"] {
            assert!(notes.contains(words), "{words:?} is not in {notes}");
        }
    }
    // An answer without a content, and a conversation without an answer.
    let messages = |role: &str, content: &str| {
        let asked = json!({"role": "user", "content": "a"});
        format!("{}\n", json!({"messages": [asked, {"role": role, "content": content}]}))
    };
    let good = messages("assistant", "b").repeat(20);
    let rows = [messages("assistant", ""), messages("user", "c"), messages("gpt", "d")].concat();
    world.write("chats.jsonl", format!("{good}{rows}"));
    let notes = notes_of_training(&world, "chats.jsonl");
    assert!(notes.contains("skipped 3 of 23 examples"), "{notes}");
    assert!(notes.contains("chats.jsonl, line 21"), "{notes}");
}
