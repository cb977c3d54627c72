# escape=`

# A Windows image: the backtick escapes, so that paths may end in a backslash.
FROM mcr.example/windows/servercore:ltsc2022
SHELL ["powershell", "-Command", "$ErrorActionPreference = 'Stop';"]
ARG PYTHON=3.11.9
ENV PYTHON_HOME="C:\Program Files\Python" DATA=C:\data\
RUN Invoke-WebRequest "https://python.example/$env:PYTHON" -OutFile C:\setup.exe; `
    Start-Process C:\setup.exe -Wait; `
    # a comment between
    Remove-Item C:\setup.exe
COPY requirements.txt C:\app\
WORKDIR C:\app\
RUN pip install -r requirements.txt
