// A job step that checks a registration, and tells all that is wrong with it at once.
//
// Here are the rules. They are total over all JSON: a value of the wrong type is an error at its path, and hides no other.
// The way to the gateway is in `sluice`.

import { Field, Reader, State } from "./json";
import { Outcome, ValidationError, completed, invalid, log, malformed } from "./sluice";
import { Writer } from "./writer";

const NAME_BYTES_MAX: i32 = 100;
const AGE_MIN: i64 = 18;
const AGE_MAX: i64 = 130;
/** Nobody speaks more, and a hostile registration can't make the answer larger than itself. */
const LANGUAGES_MAX: i32 = 20;

export function run(json: string): Outcome {
  const reader = new Reader(json);
  const input = new Field<Registration>(new Registration());
  input.read(reader);
  if (!reader.end()) return malformed(reader);

  const errors = new Errors();
  if (errors.required(input.state, "")) input.value.check(errors);
  if (!errors.list.length) return completed(new Writer().openObject().name("registration").text("valid").closeObject().finish());
  log.warn("registration refused", new log.Fields().integer("errors", errors.list.length));
  return invalid(errors.list);
}

/** What the step is called with. */
class Registration {
  private name: Field<string> = new Field<string>("");
  private email: Field<string> = new Field<string>("");
  private age: Field<i64> = new Field<i64>(0);
  private languages: Languages = new Languages();

  member(reader: Reader): void {
    if (reader.isNamed("name")) this.name.read(reader);
    else if (reader.isNamed("email")) this.email.read(reader);
    else if (reader.isNamed("age")) this.age.read(reader);
    else if (reader.isNamed("languages")) this.languages.read(reader);
    else reader.skip();
  }

  check(errors: Errors): void {
    const name = this.name;
    if (errors.required(name.state, "/name")) {
      const bytes = String.UTF8.byteLength(name.value);
      if (bytes < 1 || bytes > NAME_BYTES_MAX) errors.add("/name", "out-of-range", "1 to 100 bytes");
    }
    if (errors.required(this.email.state, "/email") && !isEmail(this.email.value)) {
      errors.add("/email", "malformed", "not an address");
    }
    const age = this.age;
    if (errors.required(age.state, "/age") && (age.value < AGE_MIN || age.value > AGE_MAX)) {
      errors.add("/age", "out-of-range", "18 to 130");
    }
    this.languages.check(errors);
  }
}

/** The list of languages, as long as it may be. */
class Languages {
  private state: State = State.Missing;
  private seen: bool = false;
  private list: Field<string>[] = [];
  private tooMany: bool = false;

  read(reader: Reader): void {
    // A member that comes twice leaves open what was meant.
    if (this.seen) return reader.refuse();
    this.seen = true;
    this.state = reader.openList();
    if (this.state != State.Given) return;
    while (reader.nextItem()) {
      this.tooMany = this.list.length == LANGUAGES_MAX;
      if (this.tooMany) {
        reader.skip();
        continue;
      }
      const language = new Field<string>("");
      language.read(reader);
      this.list.push(language);
    }
  }

  check(errors: Errors): void {
    if (!errors.required(this.state, "/languages")) return;
    for (let index = 0; index < this.list.length; index++) {
      const language = this.list[index];
      const path = "/languages/" + index.toString();
      if (errors.required(language.state, path) && !isLanguage(language.value)) {
        errors.add(path, "malformed", "two small letters, as in ISO 639-1");
      }
    }
    if (this.tooMany) errors.add("/languages", "out-of-range", "at most 20");
  }
}

/** What was found so far. A path is a JSON Pointer (RFC 6901) into the input. */
class Errors {
  readonly list: ValidationError[] = [];

  add(path: string, code: string, message: string): void {
    this.list.push(new ValidationError(path, code, message));
  }

  /** Whether there is a value to be looked at. */
  required(state: State, path: string): bool {
    if (state == State.Missing) this.add(path, "required", "a value is needed here");
    if (state == State.Malformed) this.add(path, "malformed", "the value has the wrong type");
    return state == State.Given;
  }
}

/** Enough to catch a typing error. Whether somebody reads it, only a letter can tell. */
function isEmail(text: string): bool {
  const at = text.indexOf("@");
  return at > 0 && text.indexOf(".", at) > 0 && text.indexOf("@", at + 1) < 0;
}

function isLanguage(text: string): bool {
  return text.length == 2 && isLower(text.charCodeAt(0)) && isLower(text.charCodeAt(1));
}

function isLower(unit: i32): bool {
  return unit >= 0x61 && unit <= 0x7a;
}
