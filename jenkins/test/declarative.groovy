/*
 * Runs a Jenkinsfile. THIS IS NOT JENKINS: it simulates Jenkins for tests on machines without it. It supports the
 * declarative sections and the few steps below, and rejects all others. It has no agents, plugins, credentials or
 * sandbox.
 *
 * Input:  groovy declarative.groovy JENKINSFILE, in an empty folder, which is the workspace. `checkout scm` clones the git
 *         repository in the variable SCM. All variables are passed to `sh`, which runs a real `sh -xe`.
 * Output: the output of the steps; exit 0 with "Finished: SUCCESS", or 1 with "Finished: FAILURE".
 */

class Block {
    static void call(Closure body, Object delegate) {
        if (body == null) return
        body.delegate = delegate
        body.resolveStrategy = Closure.DELEGATE_FIRST
        body.call()
    }
}

/** The blocks of a section by name, in source order. They run later. */
class Section {
    final Map<String, Object> blocks = [:]
    private final List<String> allowed
    def any = 'any', none = 'none'

    Section(String allowed, Closure body) {
        this.allowed = allowed.split(' ')
        Block.call(body, this)
    }

    def methodMissing(String name, Object args) {
        if (!(name in allowed)) throw new IllegalArgumentException("section '$name' is not allowed here, only: $allowed")
        def key = name == 'stage' ? args[0] : name
        if (blocks.containsKey(key)) throw new IllegalArgumentException("'$key' is defined twice")
        blocks[key] = args[-1]
    }
}

/** Receives the assignments of an `environment` section. */
class Environment {
    Map<String, String> env

    void setProperty(String name, Object value) { name == 'env' ? (this.@env = value) : this.@env.put(name, value.toString()) }

    def propertyMissing(String name) { this.@env[name] }
}

class Steps {
    Map<String, String> env
    File folder = new File('.').canonicalFile

    def getScm() { env.SCM }

    def propertyMissing(String name) { env[name] }

    def echo(String text) { println text }

    def error(String text) { throw new IllegalStateException(text) }

    def checkout(String repository) { run(['git', 'clone', '-q', repository, '.']) }

    def sh(String script) { run(['sh', '-xe', '-c', script]) }

    def archiveArtifacts(Map options) {
        def found = new File(folder, options.artifacts)
        if (!found.exists() && !options.allowEmptyArchive) error("no artifact ${options.artifacts}")
        println "archived: ${found.exists() ? found.text.trim() : 'nothing'}"
    }

    private void run(List<String> command) {
        System.out.flush()
        def builder = new ProcessBuilder(command).directory(folder).inheritIO()
        builder.environment().clear()
        builder.environment().putAll(env)
        def status = builder.start().waitFor()
        if (status) error("script returned exit code $status")
    }
}

class Run {
    Map<String, String> env = [BUILD_NUMBER: '1', JOB_NAME: 'test', BRANCH_NAME: 'main', WORKSPACE: new File('.').canonicalPath] + System.getenv()
    boolean failed

    void pipeline(Closure body) {
        def sections = new Section('agent environment options stages post', body).blocks
        ['agent', 'stages'].each { if (!sections[it]) throw new IllegalArgumentException("a pipeline needs '$it'") }
        assign(sections.environment)
        new Section('stage', sections.stages).blocks.each { name, stage ->
            println "[Pipeline] { ($name)"
            if (failed) println "Stage \"$name\" skipped due to earlier failure(s)"
            else attempt { runStage(stage) }
        }
        after(sections.post)
    }

    private void runStage(Closure body) {
        def sections = new Section('environment when steps post', body).blocks
        assign(sections.environment)
        if (!isWanted(sections.when)) { println 'Stage skipped due to when conditional'; return }
        attempt { steps(sections.steps) }
        after(sections.post)
    }

    private boolean isWanted(Closure body) {
        if (!body) return true
        def expression = new Section('expression', body).blocks.expression
        expression.delegate = this
        expression.resolveStrategy = Closure.DELEGATE_FIRST
        expression.call()
    }

    private void assign(Closure body) { Block.call(body, new Environment(env: env)) }

    private void steps(Closure body) { Block.call(body, new Steps(env: env)) }

    private void after(Closure body) {
        if (!body) return
        def blocks = new Section('always success failure cleanup', body).blocks
        ['always', failed ? 'failure' : 'success', 'cleanup'].each { name ->
            if (blocks[name]) { println "[Pipeline] { (post: $name)"; attempt { steps(blocks[name]) } }
        }
    }

    private void attempt(Closure work) {
        try { work() } catch (Exception problem) { failed = true; println "ERROR: ${problem.message}" }
    }
}

def run = new Run()
new GroovyShell(new Binding(env: run.env, pipeline: run.&pipeline)).evaluate(new File(args[0]))
println "Finished: ${run.failed ? 'FAILURE' : 'SUCCESS'}"
System.exit(run.failed ? 1 : 0)
