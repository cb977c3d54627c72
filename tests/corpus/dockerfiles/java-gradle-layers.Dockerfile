# Gradle, and the layers of a jar unpacked in a stage of their own.
FROM gradle:8.9-jdk21 AS build
COPY --chown=gradle:gradle . /home/gradle/src
WORKDIR /home/gradle/src
RUN --mount=type=cache,id=gradle,target=/home/gradle/.gradle,uid=1000,gid=1000 gradle bootJar --no-daemon
FROM eclipse-temurin:21-jre AS layers
COPY --from=build /home/gradle/src/build/libs/app.jar .
RUN java -Djarmode=layertools -jar app.jar extract
FROM eclipse-temurin:21-jre
COPY --from=layers dependencies/ ./
COPY --from=layers spring-boot-loader/ ./
COPY --from=layers snapshot-dependencies/ ./
COPY --from=layers application/ ./
ENV JAVA_TOOL_OPTIONS "-XX:MaxRAMPercentage=75 -Dfile.encoding=UTF-8"
ENTRYPOINT exec java $JAVA_TOOL_OPTIONS org.springframework.boot.loader.launch.JarLauncher
